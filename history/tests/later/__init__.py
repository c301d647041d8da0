"""The migrations of generation, and one more: MIGRATION_MODULES names it in a test."""

from pathlib import Path

from django.apps import apps

__path__.append(str(Path(apps.get_app_config("generation").path) / "migrations"))
