"""The two secrets of an installation, made once and kept beside its data.

`SECRET_KEY` signs sessions; the field key encrypts the fal key in the database. An
installation of several machines sets both by environment instead, so that all agree.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet


def new_secret_key() -> str:
    return secrets.token_urlsafe(50)


def new_field_key() -> str:
    return Fernet.generate_key().decode()


def load_or_create(path: Path, *, make: Callable[[], str]) -> str:
    """Return the secret kept in `path` (mode 0600), making it on first use.

    Several processes may ask at once: the file appears whole, and all read the same one.
    """
    if path.exists():
        return path.read_text().strip()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())
        # A hard link never overwrites: whoever comes second reads the first one's key.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        Path(draft).unlink()
    return path.read_text().strip()
