"""Start a program of the site with some of its limits shortened: a minute's patience is right
for users and too long for a test.

    python -m generation.tests.faults.launch '{"fluxsite.settings.Q_CLUSTER": {"timeout": 3}}'
        manage.py qcluster

The first argument maps module.NAME to a new value or, where NAME holds a dictionary, to those
members that change. Everything else is the program as it always runs.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
from typing import Any

import django


def shorten(limits: dict[str, Any]) -> None:
    for path, value in limits.items():
        module_name, _, name = path.rpartition(".")
        module = importlib.import_module(module_name)
        old = getattr(module, name)
        if isinstance(old, dict):
            _update(old, value)
        else:
            setattr(module, name, value)


def _update(old: dict[str, Any], new: dict[str, Any]) -> None:
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(name), dict):
            _update(old[name], value)
        else:
            old[name] = value


if __name__ == "__main__":
    limits, program = json.loads(sys.argv[1]), sys.argv[2]
    sys.argv = sys.argv[2:]
    # Settings before Django reads them, everything else after the apps are loaded.
    of_settings = {path: limits.pop(path) for path in list(limits) if "settings" in path}
    shorten(of_settings)
    if limits:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fluxsite.settings")
        django.setup()
        shorten(limits)
    if program == "gunicorn":
        runpy.run_module("gunicorn", run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program, run_name="__main__")
