"""Codes to redeem: how they look, how they are recognised, how they are made.

A code is 16 characters of Crockford's base 32, 80 random bits: too many to guess, so a plain
digest is enough to keep them by. People retype codes: case, dashes, spaces, full-width letters
and the usual confusions (O for 0, I or L for 1) make no difference.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from datetime import datetime

from django.db import transaction

from credits.models import RedeemCode

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 16
#: Nothing longer than this can be a code, however it was spaced.
MAX_TYPED = 100


def normalise(typed: str) -> str:
    letters = unicodedata.normalize("NFKC", typed[:MAX_TYPED]).upper()
    plain = "".join(letter for letter in letters if letter.isalnum())
    return plain.translate(str.maketrans("OIL", "011"))


def digest_of(typed: str) -> str:
    return hashlib.sha256(normalise(typed).encode()).hexdigest()


def make(
    *,
    amount: int,
    count: int,
    created_by: str,
    batch: str = "",
    max_uses: int = 1,
    expires_at: datetime | None = None,
) -> list[str]:
    """Make a batch, all or none, and return its codes: the only time they are seen."""
    if min(amount, count, max_uses) < 1:
        raise ValueError("A code brings at least one credit, to at least one member.")
    fresh = [_new_code() for _ in range(count)]
    with transaction.atomic():
        RedeemCode.objects.bulk_create(
            (
                RedeemCode(
                    digest=digest_of(code),
                    hint=code[-4:],
                    batch=batch,
                    credits=amount,
                    max_uses=max_uses,
                    expires_at=expires_at,
                    created_by=created_by,
                )
                for code in fresh
            ),
            batch_size=500,
        )
    return fresh


def _new_code() -> str:
    letters = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    return "-".join(letters[start : start + 4] for start in range(0, LENGTH, 4))
