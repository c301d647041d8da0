"""From SQLite to PostgreSQL: all rows of a site, in one transaction (`manage.py copy_database`).

`source` reads the file while nobody else can open it, `values` makes of each value what
PostgreSQL takes, `target` writes. Killed at any line the target is as empty as before: nothing
has to be cleared away, and the same command begins anew.
"""
