"""Django's backend for SQLite, with a gate in front of the write lock (docs/adr/0007)."""

#: What each connection begins with. Eight megabytes of pages instead of two: a page of the history
#: among ten million tasks then takes half the time, and no longer than among one million.
PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-8000;"
