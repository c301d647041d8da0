"""A text column that is encrypted at rest."""

from __future__ import annotations

from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


class KeyUnreadable(Exception):
    """The stored secret was encrypted with a key that is no longer configured."""


def _cipher() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.FIELD_ENCRYPTION_KEYS])


def encrypt(text: str) -> str:
    """Return `text` encrypted with the first of `FIELD_ENCRYPTION_KEYS`; "" stays ""."""
    return _cipher().encrypt(text.encode()).decode() if text else ""


def decrypt(token: str) -> str:
    """Return the text behind `token`. Raises KeyUnreadable when no configured key fits."""
    if not token:
        return ""
    try:
        return _cipher().decrypt(token.encode()).decode()
    except InvalidToken as error:
        msg = (
            "The stored key cannot be decrypted: FIELD_ENCRYPTION_KEYS (or the field_key file "
            "in DATA_DIR) is not the one it was saved with. Enter the key again."
        )
        raise KeyUnreadable(msg) from error


def is_current(token: str) -> bool:
    """Tell whether `token` was encrypted with the first of `FIELD_ENCRYPTION_KEYS`."""
    try:
        Fernet(settings.FIELD_ENCRYPTION_KEYS[0]).decrypt(token.encode())
    except InvalidToken:
        return False
    return True


class EncryptedTextField(models.TextField):  # type: ignore[type-arg]  # not at run time
    """Holds what `encrypt` made. Reading and writing stay explicit: a row can be loaded,
    listed and saved even when its key is lost."""

    description = "Encrypted text"

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "generation.fields.EncryptedTextField", args, kwargs
