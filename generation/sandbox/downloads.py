"""What a download of a picture sends, whole or spoiled."""

from __future__ import annotations

import gzip
import itertools
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from generation.sandbox import answers
from generation.sandbox.answers import Answer
from generation.sandbox.faults import FaultRule
from generation.sandbox.files import FileStore, StoredFile

_PAGE = b"<!doctype html><title>Sign in</title><h1>Please sign in to the network</h1>"
_CHUNK_BYTES = 64 * 1024


@dataclass
class Download:
    """``chunks`` None sends the answer's own body; otherwise these, pausing after each, under a
    Content-Length of ``promised_bytes``, or under none."""

    answer: Answer
    promised_bytes: int | None = None
    chunks: Iterable[bytes] | None = None
    pause_secs: float = 0.0


def of(file: StoredFile | None, files: FileStore, rule: FaultRule | None) -> Download:
    data = None if file is None else files.read(file)
    if file is None or data is None or (rule is not None and rule.kind == "expired_file"):
        return Download(answers.refusal(404, "File not found"))
    headers = {"Content-Type": file.content_type}
    if rule is None:
        return Download(Answer(200, data, headers))
    return _whole(rule, data, headers) or _in_pieces(rule, data, headers)


def _whole(rule: FaultRule, data: bytes, headers: dict[str, str]) -> Download | None:
    """Return a download that arrives as it should, with something else in it."""
    packed = {**headers, "Content-Encoding": "gzip"}
    if rule.kind == "html_instead_of_image":
        return Download(Answer(200, _PAGE, {"Content-Type": "text/html; charset=utf-8"}))
    if rule.kind == "bomb_file":
        bomb = _bomb(int(rule.get("side", 30000)))
        return Download(Answer(200, bomb, {"Content-Type": "image/png"}))
    if rule.kind == "gzipped_file":
        return Download(Answer(200, gzip.compress(data), packed))
    if rule.kind == "gzip_bomb":
        return Download(Answer(200, _gzip_bomb(int(rule.get("bytes", 256 * 2**20))), packed))
    return None


def _in_pieces(rule: FaultRule, data: bytes, headers: dict[str, str]) -> Download:
    """Return a download that does not arrive as it should."""
    answer = Answer(200, b"", headers)
    if rule.kind == "oversized_file":
        size = int(rule.get("bytes", 64 * 2**20))
        return Download(answer, size if rule.get("told", True) else None, _filler(size))
    if rule.kind == "truncated_download":
        return Download(answer, len(data), [data[: len(data) // 2]])
    pause = float(rule.get("seconds", 0.05))
    if rule.kind == "endless_drip":
        step = int(rule.get("bytes", 1))
        return Download(answer, None, itertools.repeat(b"\xff" * step), pause)
    step = int(rule.get("bytes", 512))
    pieces = (data[start : start + step] for start in range(0, len(data), step))
    return Download(answer, len(data), pieces, pause)


def _filler(size: int) -> Iterable[bytes]:
    filler = b"\xff\xd8\xff" + bytes(_CHUNK_BYTES - 3)
    whole, rest = divmod(size, _CHUNK_BYTES)
    return (filler[: _CHUNK_BYTES if n < whole else rest] for n in range(whole + 1))


def _gzip_bomb(size: int) -> bytes:
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    chunk = bytes(_CHUNK_BYTES)
    whole, rest = divmod(size, _CHUNK_BYTES)
    packed = b"".join(packer.compress(chunk) for _ in range(whole))
    return packed + packer.compress(bytes(rest)) + packer.flush()


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
