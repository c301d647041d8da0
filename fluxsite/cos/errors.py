"""What callers see when COS does not do as asked: nothing but kinds of OSError."""

from __future__ import annotations


class CosError(OSError):
    """COS refused, answered nonsense or could not be reached.

    `status` is the HTTP status, None if there was no answer; `code` is COS's own word for the
    trouble, empty if it gave none. `request_id` is what Tencent's support asks for. The text
    holds neither secrets nor signed addresses.
    """

    def __init__(
        self, message: str, *, status: int | None = None, code: str = "", request_id: str = ""
    ) -> None:
        self.status = status
        self.code = code
        self.request_id = request_id
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        state = {"status": self.status, "code": self.code, "request_id": self.request_id}
        return type(self), (str(self),), state


def describe(*, status: int, code: str, request_id: str, action: str, name: str) -> str:
    words = [f"COS answered {status}", *([code] if code else []), f"to {action} {name!r}"]
    return f"{' '.join(words)} (x-cos-request-id {request_id or 'unknown'})"
