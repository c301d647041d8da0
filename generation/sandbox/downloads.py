"""What a download of a picture sends, whole or spoiled."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from generation.sandbox import answers
from generation.sandbox.answers import Answer
from generation.sandbox.faults import FaultRule
from generation.sandbox.files import FileStore, StoredFile

_PAGE = b"<!doctype html><title>Sign in</title><h1>Please sign in to the network</h1>"
_CHUNK_BYTES = 64 * 1024


@dataclass
class Download:
    """``chunks`` None sends the answer's own body; otherwise these, under a Content-Length
    of ``promised_bytes``, pausing after each."""

    answer: Answer
    promised_bytes: int = 0
    chunks: Iterator[bytes] = field(default_factory=lambda: iter(()))
    pause_secs: float = 0.0
    is_plain: bool = True


def of(file: StoredFile | None, files: FileStore, rule: FaultRule | None) -> Download:
    if file is None or (rule is not None and rule.kind == "expired_file"):
        return Download(answers.refusal(404, "File not found"))
    if rule is not None and rule.kind == "html_instead_of_image":
        return Download(Answer(200, _PAGE, {"Content-Type": "text/html; charset=utf-8"}))
    headers = {"Content-Type": file.content_type}
    if rule is not None and rule.kind == "oversized_file":
        return _oversized(int(rule.get("bytes", 64 * 2**20)), headers)
    if rule is not None and rule.kind == "bomb_file":
        bomb = _bomb(int(rule.get("side", 30000)))
        return Download(Answer(200, bomb, {"Content-Type": "image/png"}))
    data = files.read(file)
    if data is None:
        return Download(answers.refusal(404, "File not found"))
    if rule is not None and rule.kind == "truncated_download":
        return _spoiled(headers, len(data), iter([data[: len(data) // 2]]))
    if rule is not None and rule.kind == "drip_download":
        step = int(rule.get("bytes", 512))
        pieces = (data[start : start + step] for start in range(0, len(data), step))
        return _spoiled(headers, len(data), pieces, float(rule.get("seconds", 0.05)))
    return Download(Answer(200, data, headers))


def _spoiled(
    headers: dict[str, str], promised_bytes: int, chunks: Iterator[bytes], pause_secs: float = 0.0
) -> Download:
    return Download(
        Answer(200, b"", headers),
        promised_bytes=promised_bytes,
        chunks=chunks,
        pause_secs=pause_secs,
        is_plain=False,
    )


def _oversized(size: int, headers: dict[str, str]) -> Download:
    filler = b"\xff\xd8\xff" + bytes(_CHUNK_BYTES - 3)
    whole, rest = divmod(size, _CHUNK_BYTES)
    chunks = (filler[: _CHUNK_BYTES if n < whole else rest] for n in range(whole + 1))
    return _spoiled(headers, size, chunks)


def _bomb(side: int) -> bytes:
    """Return a valid grey PNG of side x side whose rows compress a thousandfold."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
