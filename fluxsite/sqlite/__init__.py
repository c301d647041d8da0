"""Django's backend for SQLite, with a gate in front of the write lock (docs/adr/0007)."""
