#!/usr/bin/env python
import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fluxsite.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # Mostly a variable with a typing mistake: its name helps, a traceback does not.
        sys.exit(f"Fluxsite cannot start: {error}")


if __name__ == "__main__":
    main()
