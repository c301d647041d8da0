"""Settings of the site that `./run bench history` asks: ours, and one view more."""

from fluxsite.settings import *  # noqa: F403, TID251

ROOT_URLCONF = "benchmarks._history_urls"
