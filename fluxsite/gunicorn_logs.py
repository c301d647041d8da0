"""The web server's own lines in the format of all others."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string
from gunicorn.glogging import Logger as GunicornLogger

from fluxsite.logs import RequestIdFilter


class Logger(GunicornLogger):  # type: ignore[misc]
    """Gunicorn's logger, which has handlers of its own, with our formatter and filter."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        formatters: Any = settings.LOGGING["formatters"]
        formatter = import_string(formatters["chosen"]["()"])()
        for handler in self.error_log.handlers:
            handler.setFormatter(formatter)
            handler.addFilter(RequestIdFilter())
