"""Here too sites draw, with workers that run inside the test."""

from generation.tests.conftest import drawing, work

__all__ = ["drawing", "work"]
