"""Requests nobody sends by mistake, byte by byte: test_hostile_requests.py sends them.

TOKEN stands for Alice's token. What has no `statuses` must be refused with 4xx, in JSON below
/api/; `bare` is refused by the web server itself, which may just as well hang up.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

TEXT = "/api/flux/text-to-image"
IMAGE = "/api/flux/image-to-image"
ESTIMATE = "/api/flux/estimate"
UPLOAD = "/api/flux/upload-image"
PRESETS = "/api/flux/presets"
HISTORY = "/api/unified-history"
MARKS = "/api/unified-history/marks"
FEEDBACK = "/api/unified-history/feedback"
EXPORTS = "/api/unified-history/exports"
REDEEM = "/api/credits/redeem"
LEDGER = "/api/credits/ledger"
TASKS = "/api/flux/history"
DOORS = [TEXT, IMAGE, ESTIMATE, PRESETS, MARKS, FEEDBACK, EXPORTS, REDEEM]

SIGNED = {"Authorization": "Bearer TOKEN"}
JSON = {**SIGNED, "Content-Type": "application/json"}
MODEL = "fal-ai/flux-1/schnell"
ORDER = {"prompt": "a cat", "model": MODEL}
REFUSED = range(400, 500)


@dataclass(frozen=True, kw_only=True)
class Hostile:
    name: str
    raw: bytes
    statuses: Iterable[int] = REFUSED
    bare: bool = False

    @property
    def is_api(self) -> bool:
        return b" /api/" in self.raw.split(b"\r\n", 1)[0]


CASES: list[Hostile] = []


def _raw(name: str, raw: bytes, **rest: Any) -> None:
    CASES.append(Hostile(name=name, raw=raw, **rest))


def _ask(
    name: str,
    method: str,
    path: str | bytes,
    headers: Mapping[str, str | bytes] = SIGNED,
    body: bytes | None = None,
    **rest: Any,
) -> None:
    lines = [method.encode() + b" " + (path if isinstance(path, bytes) else path.encode())]
    lines[0] += b" HTTP/1.1"
    given = {"Host": "127.0.0.1", "Connection": "close", **headers}
    if body is not None and not {"Content-Length", "Transfer-Encoding"} & set(given):
        given["Content-Length"] = str(len(body))
    for header, value in given.items():
        lines.append(f"{header}: ".encode() + (value.encode() if isinstance(value, str) else value))
    _raw(name, b"\r\n".join([*lines, b"", body or b""]), **rest)


def _post(name: str, path: str, body: Any, **rest: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    _ask(f"{path.rpartition('/')[2]}: {name}", "POST", path, JSON, content, **rest)


# ---------------------------------------------------------------- bodies that are no JSON
_NO_JSON = {
    "nothing": b"",
    "half an object": b'{"prompt": "a',
    "text": b"prompt=a",
    "not utf-8": b'{"prompt": "\xff\xfe"}',
    "utf-16": '{"prompt": "a"}'.encode("utf-16"),
    "overlong utf-8": b'{"prompt": "\xc0\xaf"}',
    "surrogate in utf-8": b'{"prompt": "\xed\xa0\x80"}',
    "byte order mark": b'\xef\xbb\xbf{"prompt": "a"}',
    "NaN": b'{"prompt": "a", "seed": NaN}',
    "Infinity": b'{"prompt": "a", "seed": -Infinity}',
    "a number beyond all": b'{"prompt": "a", "guidance_scale": 1e999}',
    "a number of 5000 digits": b'{"seed": ' + b"9" * 5000 + b"}",
    "100 000 lists deep": b"[" * 100_000 + b"]" * 100_000,
    "100 000 objects deep": b'{"prompt":' * 100_000 + b"1" + b"}" * 100_000,
    "21 deep": b'{"prompt":' * 21 + b"1" + b"}" * 21,
    "the same name twice": b'{"prompt": "a", "prompt": "b", "model": "x"}',
    "control characters": b'{"prompt": "a\x01\x02"}',
    "a comment": b'{"prompt": "a" /* b */}',
    "two documents": b'{"prompt": "a"}{"prompt": "b"}',
    "gzip that says it is JSON": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
    "two megabytes": b'{"prompt": "' + b"x" * 2_000_000 + b'"}',
    "a million empty lists": b"[" + b"[]," * 300_000 + b"[]]",
    "100 000 names": json.dumps({f"n{number}": 0 for number in range(60_000)}).encode(),
}
for _name, _body in _NO_JSON.items():
    _post(_name, TEXT, _body)
for _path, _name in itertools.product(
    [ESTIMATE, PRESETS, MARKS, FEEDBACK, EXPORTS, REDEEM],
    ["not utf-8", "NaN", "100 000 lists deep", "the same name twice", "two megabytes"],
):
    _post(_name, _path, _NO_JSON[_name])
for _path, _value in itertools.product(DOORS, [[], "text", 1, None, True, [[{}]]]):
    _post(f"{json.dumps(_value)} for an object", _path, _value)

# ---------------------------------------------------------------- wrong values in fields
_SURROGATE, _NUL = "a\ud800b", "a\0b"
_WRONG: dict[str, Any] = {
    "a list": [1],
    "an object": {"a": {"b": 1}},
    "true": True,
    "a NUL": _NUL,
    "half a surrogate": _SURROGATE,
    "2^70": 2**70,
    "-1": -1,
    "1.5": 1.5,
    "1e300": 1e300,
}
for _field, (_name, _value) in itertools.product(
    ["model", "prompt", "num_images", "aspect_ratio", "seed", "num_inference_steps"],
    _WRONG.items(),
):
    _post(f"{_name} for {_field}", TEXT, {**ORDER, _field: _value})
for _name, _value in _WRONG.items():
    _post(f"{_name} for image_url", IMAGE, {**ORDER, "image_url": _value})
    _post(f"{_name} in image_urls", IMAGE, {**ORDER, "image_urls": [_value]})
for _field, _name in itertools.product(
    ["name", "model", "parameters", "prompt", "shared"],
    ["a list", "a NUL", "half a surrogate", "1e300"],
):
    _preset = {"name": "one", "model": MODEL, "parameters": {}, "prompt": ""}
    _post(f"{_name} for {_field}", PRESETS, {**_preset, _field: _WRONG[_name]})
for _name in ["a list", "an object", "a NUL", "half a surrogate", "2^70", "1e300"]:
    _bad = _WRONG[_name]
    _post(f"{_name} for a name", TEXT, {**ORDER, str(_bad): 1})
    _post(f"{_name} for a code", REDEEM, {"code": _bad})
    _post(f"{_name} for an id", MARKS, {"entries": [{"source": "flux", "id": _bad}], "trashed": 1})
    _post(f"{_name} for a source", EXPORTS, {"entries": [{"source": _bad, "id": "a"}]})
    _post(f"{_name} for a vote", FEEDBACK, {"source": "flux", "id": "a", "vote": _bad})
    _post(f"{_name} for a text", FEEDBACK, {"source": "flux", "id": "a", "reason": "other",
                                            "text": _bad})  # fmt: skip
_post("a parameter named like a method", TEXT, {**ORDER, "__class__": "x", "user": 1})
_post("a prompt of a million letters", TEXT, {**ORDER, "prompt": "x" * 1_000_000})
_post("a prompt of spaces", TEXT, {**ORDER, "prompt": "\u3000 \u200b\u2028"})
_post("an address of a stranger", IMAGE, {**ORDER, "image_url": "http://169.254.169.254/latest"})
_post(
    "an address with our name", IMAGE, {**ORDER, "image_url": "http://127.0.0.1@evil.test/media/a"}
)
_post("an address of a file", IMAGE, {**ORDER, "image_url": "file:///etc/passwd"})
_post("an address that climbs", IMAGE, {**ORDER, "image_url": "/media/../../etc/passwd"})
_post("data for an address", IMAGE, {**ORDER, "image_url": "data:image/png;base64,AAAA"})
_post("a thousand addresses", IMAGE, {**ORDER, "image_urls": ["/media/a"] * 1000})
_post("501 entries", MARKS, {"entries": [{"source": "flux", "id": "a"}] * 501, "trashed": True})
_post("10 000 entries", EXPORTS, {"entries": [{"source": "flux", "id": "a"}] * 10_000})
_post("an id of 100 000 letters", FEEDBACK, {"source": "flux", "id": "a" * 100_000, "vote": "like"})
_post("a formula for a code", REDEEM, {"code": "=cmd|' /C calc'!A0"})

# ---------------------------------------------------------------- wrong content types
_FORM = b"prompt=a&model=x"
for _type in [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
    "application/xml",
    "application/json-patch+json",
    "image/png",
    "text/html; charset=utf-7",
    "/",
    "a" * 4000,
    "application/json/json",
]:
    _ask(f"content type {_type[:40]}", "POST", TEXT, {**SIGNED, "Content-Type": _type}, _FORM)
_ask("no content type", "POST", TEXT, SIGNED, _FORM)
_ask("JSON in a charset nobody knows", "POST", TEXT,
     {**SIGNED, "Content-Type": "application/json; charset=klingon"}, b'{"prompt": 1}')  # fmt: skip
_ask("JSON for an upload", "POST", UPLOAD, JSON, b"{}")
_ask("a content encoding", "POST", TEXT, {**JSON, "Content-Encoding": "gzip"}, b"\x1f\x8b")

# ---------------------------------------------------------------- broken forms
_MULTIPART = {**SIGNED, "Content-Type": "multipart/form-data; boundary=b"}
_PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
for _name, _body in {
    "empty form": b"",
    "a form without an end": _PART + b"\x89PNG",
    "a form without parts": b"--b--\r\n",
    "a part without a name": b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
    "a part with a huge header": b"--b\r\nX: " + b"x" * 100_000 + b"\r\n\r\nx\r\n--b--\r\n",
    "a thousand parts": _PART * 1000 + b"--b--\r\n",
    "a thousand fields": b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 1000
    + b"--b--\r\n",
    "two files": (_PART + b"x\r\n") * 2 + b"--b--\r\n",
    "a text for a file": b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n',
    "a file name that climbs": _PART.replace(b"a.png", b"../../../etc/passwd") + b"x\r\n--b--\r\n",
    "a file name with a NUL": _PART.replace(b"a.png", b"a\0.png") + b"x\r\n--b--\r\n",
    "base64 that is none": _PART.replace(
        b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    + b"%%%\r\n--b--\r\n",
    "html for a picture": _PART + b"<script>alert(1)</script>\r\n--b--\r\n",
}.items():
    _ask(f"upload: {_name}", "POST", UPLOAD, _MULTIPART, _body)
_ask("upload: no boundary", "POST", UPLOAD,
     {**SIGNED, "Content-Type": "multipart/form-data"}, _PART)  # fmt: skip
_ask("upload: a boundary of 300 letters", "POST", UPLOAD,
     {**SIGNED, "Content-Type": f"multipart/form-data; boundary={'b' * 300}"}, _PART)  # fmt: skip
_ask("upload: says it has a terabyte", "POST", UPLOAD,
     {**_MULTIPART, "Content-Length": str(10**12)}, b"--b--")  # fmt: skip

# ---------------------------------------------------------------- lists and their parameters
_QUERIES = {
    "limit=0": REFUSED, "limit=-1": REFUSED, "limit=101": REFUSED, "limit=abc": REFUSED,
    "limit=1e3": REFUSED, "limit=" + "9" * 1000: REFUSED, "limit=%00": REFUSED,
    "limit=%EF%BC%91": REFUSED, "page=0": REFUSED, "page=10001": REFUSED, "page=%FF": REFUSED,
    "page=1&cursor=x": REFUSED, "cursor=x": REFUSED, "cursor=%00": REFUSED,
    "cursor=" + "A" * 3000: REFUSED, "cursor=MTo": REFUSED, "cursor=LTk5OTk5OTk5OTk5OTk5OTk5OTph": REFUSED,
    "cursor=OTk5OTk5OTk5OTk5OTk5OTk5OmE": REFUSED, "cursor=MTphAGI": REFUSED, "cursor=//8": REFUSED,
    "cursor=%ED%A0%80": REFUSED,
}  # fmt: skip
for _path, (_query, _statuses) in itertools.product([TASKS, LEDGER, HISTORY], _QUERIES.items()):
    _ask(f"{_path}?{_query[:40]}", "GET", f"{_path}?{_query}", statuses=_statuses)
for _query in [
    "source=nothing", "status=nothing", "since=yesterday", "since=9999-99-99", "until=0000-00-00",
    "since=%00", "favourite=perhaps", "model=%00", "member=nobody",
    "member=%00", "source=flux%00",
]:  # fmt: skip
    _ask(f"unified-history?{_query[:40]}", "GET", f"{HISTORY}?{_query}")
# What can be answered, is: but without a fault, and with nothing found.
for _query in [
    "text=%00", "text=%ED%A0%80", "text=" + "a%20" * 900, "text=%22%22%22", "text=*%20OR%20NEAR%20(", "text='%20OR%201=1--", "text=%25_%5C",
    "text=%F0%9F%98%80", "text=%E2%80%AE", "model='%22%3Cscript%3E", "a=" + "b" * 3000,
    "&&&&=&=&", "since=2999-01-01", "a" * 50 + "=1&" * 1000,
]:  # fmt: skip
    _ask(f"unified-history?{_query[:40]}", "GET", f"{HISTORY}?{_query}", statuses={200, 400})
_ask("a query of 100 000 letters", "GET", f"{TASKS}?a={'b' * 100_000}", bare=True)

# ---------------------------------------------------------------- addresses
for _id in ["%00", "a%00b", "..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "a" * 4000, "%FF%FE",
            "%F0%9F%98%80", "a;b", ";..", "a%0d%0aX:%20y", "'%20OR%201=1", "%3Cscript%3E", "a//b",
            "*", "-1", "9" * 400]:  # fmt: skip
    _ask(f"task {_id[:30]}", "GET", f"/api/flux/task/{_id}")
    _ask(f"page of entry {_id[:30]}", "GET", f"/history/flux/{_id}", {"Cookie": "a=b"},
         statuses={302, 400, 404})  # fmt: skip
for _path in ["/media/..%2f..%2fetc%2fpasswd", "/media/%00", "/static/..%2f..%2fmanage.py",
              "/static/%2e%2e/%2e%2e/manage.py", "/static/../../etc/passwd", "/..;/admin/",
              "//evil.test/%2e%2e", "/api/../admin/", "/%c0%ae%c0%ae/", "/admin/..;/", "/.git/config",
              "/.env", "/" + "a/" * 2000, "/login%00", "/static/%00.css"]:  # fmt: skip
    _ask(f"path {_path[:40]}", "GET", _path, statuses={301, 302, 400, 404})
_ask("path of raw bytes", "GET", b"/api/\xff\xfe\x80", bare=True)
_ask("a whole address for a path", "GET", "http://evil.test/api/flux/history", statuses={200, 400})
_ask("an asterisk for a path", "OPTIONS", "*", statuses={200, 400, 404, 405})
_ask("no slash before the path", "GET", "api/flux/history", statuses={200, 400, 404})
_ask("a fragment in the path", "GET", "/api/flux/history#x", statuses={200, 400, 404})
_ask("schema in no language", "GET", "/api/schema?lang=%00", statuses={200, 400})
_ask("schema of a version with a line end", "GET", "/api/schema?version=1%0d%0aX-Bad:%20y",
     statuses={200, 400, 406})  # fmt: skip
_ask("schema in a format nobody knows", "GET", "/api/schema?format=exe", statuses={200})

# ---------------------------------------------------------------- methods
for _method in ["TRACE", "PUT", "PATCH", "DELETE", "PROPFIND", "FOO", "A" * 15, "HELP"]:
    _ask(f"method {_method}", _method, TEXT)
_ask("a method of 1000 letters", "A" * 1000, TEXT, bare=True)
_ask("a method with a NUL", "GE\0T", TEXT, bare=True)
_ask("CONNECT", "CONNECT", "127.0.0.1:22", bare=True, statuses=range(400, 500))
_ask("another method by a header", "POST", TASKS, {**SIGNED, "X-HTTP-Method-Override": "DELETE"})
for _path in [TEXT, "/api/docs", "/api/schema", "/api/flux/task/a", "/api/unified-history"]:
    _ask(f"OPTIONS {_path}", "OPTIONS", _path, statuses={200, 404, 405})

# ---------------------------------------------------------------- headers
for _name, _headers in {
    "a token of bytes": {"Authorization": b"Bearer \xff\xfe"},
    "a token with a NUL": {"Authorization": "Bearer a%00"},
    "an empty token": {"Authorization": "Bearer"},
    "a token of 7000 letters": {"Authorization": "Bearer " + "a" * 7000},
    "two tokens": {"Authorization": "Bearer TOKEN TOKEN"},
    "another scheme": {"Authorization": "Basic YWRtaW46YWRtaW4="},
    "a digest": {"Authorization": 'Digest username="admin"'},
    "a session nobody has": {"Cookie": "sessionid=" + "a" * 32},
    "a session that climbs": {"Cookie": "sessionid=../../etc/passwd"},
    "a session of bytes": {"Cookie": b"sessionid=\xff\xfe\x00"[:-1]},
    "a thousand cookies": {"Cookie": ";".join(f"a{n}=b" for n in range(700))},
}.items():
    _ask(f"header: {_name}", "GET", TASKS, _headers)
for _name, _headers in {
    "a key of 300 letters": {"Idempotency-Key": "k" * 300},
    "a key of bytes": {"Idempotency-Key": b"\xff\xfe\x80"},
    "a key with a tab": {"Idempotency-Key": "a\tb"},
}.items():
    _ask(f"header: {_name}", "POST", TEXT, {**JSON, **_headers}, json.dumps(ORDER).encode())
for _name, _headers in {
    "accepts nothing we have": {"Accept": "application/x-nothing"},
    "accepts nonsense": {"Accept": ";;;,,,/"},
    "speaks no language": {"Accept-Language": "*" * 2000},
    "speaks 1000 languages": {"Accept-Language": ",".join(f"a{n}" for n in range(700))},
    "a name that breaks the line": {"X-Request-ID": "a" * 8 + "\tb"},
    "a forwarded chain": {"X-Forwarded-For": "1.1.1.1, " * 500, "X-Forwarded-Host": "evil.test"},
    "a range beyond all": {"Range": "bytes=0-999999999999999999999"},
    "since never": {"If-Modified-Since": "Thu, 99 Foo 9999 99:99:99 GMT"},
    "expects too much": {"X-Script-Name": "/admin", "Script-Name": "/admin"},
}.items():
    _ask(f"header: {_name}", "GET", TASKS, {**SIGNED, **_headers}, statuses={200, 400, 406})
_ask("header: of 100 000 letters", "GET", TASKS, {**SIGNED, "X-A": "a" * 100_000}, bare=True)
_ask("header: 1000 of them", "GET", TASKS, {f"X-{n}": "a" for n in range(1000)}, bare=True)
_ask("header: a host of slashes", "GET", TASKS, {**SIGNED, "Host": "a/b@c"}, statuses={200, 400})
_ask("header: a host with a NUL", "GET", TASKS, {**SIGNED, "Host": "a%00"}, statuses={200, 400})

# ---------------------------------------------------------------- HTTP itself
_HEAD = b"POST /api/flux/text-to-image HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer TOKEN\r\n"
_HEAD += b"Content-Type: application/json\r\nConnection: close\r\n"
for _name, _rest in {
    "a length below zero": b"Content-Length: -1\r\n\r\n{}",
    "a length in words": b"Content-Length: many\r\n\r\n{}",
    "a length of 30 digits": b"Content-Length: " + b"9" * 30 + b"\r\n\r\n{}",
    "a length with a plus": b"Content-Length: +2\r\n\r\n{}",
    "a length in hex": b"Content-Length: 0x10\r\n\r\n{}",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 20\r\n\r\n{}",
    "a length and chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks of a size that is none": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk below zero": b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk that is too short": b"Transfer-Encoding: chunked\r\n\r\nff\r\n{}",
    "a chunk of 30 digits": b"Transfer-Encoding: chunked\r\n\r\n"
    + b"f" * 30
    + b"\r\n{}\r\n0\r\n\r\n",
    "an encoding nobody knows": b"Transfer-Encoding: klingon\r\n\r\n{}",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Content-Length : 2\r\n\r\n{}",
    "a folded header": b"X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}",
    "a header without a colon": b"Nonsense\r\n\r\n",
    "a header with a NUL": b"X-A: a\0b\r\n\r\n",
    "bare line ends": b"X-A: b\n\n{}",
    "a body that never comes": b"Content-Length: 100\r\n\r\n{",
}.items():
    _raw(f"http: {_name}", _HEAD + _rest, bare=True, statuses={*REFUSED, 501})
for _name, _line in {
    "no version": b"GET /api/flux/history",
    "version 9": b"GET /api/flux/history HTTP/9.9",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    "a line of 100 000 letters": b"GET /" + b"a" * 100_000 + b" HTTP/1.1",
    "an empty line": b"",
    "version 2": b"PRI * HTTP/2.0",
    "SSH": b"SSH-2.0-OpenSSH_9.0",
}.items():
    _raw(f"http: {_name}", _line + b"\r\nHost: a\r\nConnection: close\r\n\r\n", bare=True)

# ---------------------------------------------------------------- pages, without a login
for _path in ["/login", "/", "/history", "/tokens", "/studio/cards", "/credits"]:
    _ask(f"post to {_path} without a token", "POST", _path,
         {"Content-Type": "application/x-www-form-urlencoded"}, b"a=%00&b=%FF",
         statuses={302, 403, 405})  # fmt: skip
_ask("a form of 300 fields", "POST", "/login", {"Content-Type": "application/x-www-form-urlencoded",
     "Cookie": "csrftoken=" + "a" * 32}, b"&".join(b"a%d=b" % n for n in range(300)))  # fmt: skip
_ask("a way back to a stranger", "GET", "/login?next=" + quote("//evil.test/"), statuses={200})
_ask(
    "a webhook nobody signed", "POST", "/hooks/fal/a/b", {"Content-Type": "application/json"}, b"{}"
)
_ask("a password link that is none", "GET", "/password/reset/%FF%FE/x", statuses={200, 400, 404})

#: Prompts that look hostile and are text like any other: they are kept letter by letter.
PROMPTS = {
    "html": "<script>alert('hostile')</script><img src=x onerror=alert(1)>",
    "a formula": '=HYPERLINK("http://evil.test","a")',
    "at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "bidi": "a \u202egnp.exe\u202c b \u2066c\u2069",
    "emoji": "👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 🇨🇳",
    "four bytes": "𠜎𠜱𝒳 猫",
    "combining": "Z\u0351\u036b\u0343\u036a\u0302a\u0300\u0301\u0302\u0303l\u0334g\u0335o",
    "a long word": "w" * 1500,
    "sql": "'; DROP TABLE flux_tasks; --",
    "templates": "{{ 7*7 }} {% debug %} ${7*7} #{7*7} %s %(user)s {0}",
    "a line for the log": "a\r\n2026-01-01 INFO forged line",
    "paths": "../../../etc/passwd\\..\\..",
}
