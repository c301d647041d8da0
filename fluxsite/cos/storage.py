"""COSStorage: objects in a private bucket behind Django's storage interface.

What it promises beyond that interface:

- what `save` returned for is stored: the answer carried the checksum of what was sent;
- a redirect, a refusal or a broken network is never taken for "there" or "not there";
- `url` is signed, the same for hours, and good for at least one window more;
- trouble is an OSError, see errors.py. Neither it nor a log line holds a secret.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import mimetypes
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation
from django.utils.deconstruct import deconstructible
from requests.structures import CaseInsensitiveDict
from storages.base import BaseStorage
from storages.utils import check_location

from fluxsite.cos import signing
from fluxsite.cos.errors import CosError
from fluxsite.cos.files import Body, COSFile, check_sum, described

if TYPE_CHECKING:
    from fluxsite.cos.client import Client

#: The bytes behind a name never change; browsers need not ask again for a week.
CACHE_CONTROL = "private, max-age=604800, immutable"
#: How far the clocks of COS and of this machine may differ, in seconds.
CLOCK_SKEW_SECS = 60
MAX_KEY_BYTES = 850
#: Says whose save an object is from, see `COSStorage._is_from`.
MARK = "x-cos-meta-save"

# Only the types Python brings along, so that a name means the same on every machine.
_types = mimetypes.MimeTypes()


@deconstructible(path="fluxsite.cos.COSStorage")
class COSStorage(BaseStorage):  # type: ignore[misc]
    """A bucket, or what is below `location` in it.

    `domain` is a host, with a port if need be, that stands for the bucket: a custom origin
    domain, or an emulator. `url_window` is in seconds. `timeout` is the seconds to connect and
    the seconds between two bytes; `retries` how often a call is repeated after a network error
    or a 5xx, with 1, 2, 3 … seconds in between. `object_parameters` go with every object as
    the SDK's `put_object` spells them, such as {"StorageClass": "STANDARD_IA"}.

    With `file_overwrite` a name is taken as it is, and saving replaces. Without, a taken name
    gets a suffix; COS itself decides what is taken, so two savers never share a name. (COS no
    longer does once versioning was switched on for the bucket.)

    Safe to share between threads, to pickle, and to use on both sides of a fork.
    """

    secret_id: str
    secret_key: str
    token: str
    region: str
    bucket_name: str
    domain: str
    scheme: str
    location: str
    url_window: int
    timeout: tuple[float, float]
    retries: int
    file_overwrite: bool
    max_memory_size: int
    object_parameters: Mapping[str, str]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        check_location(self)
        self.location = self.location.strip("/")
        self._client: tuple[int, Client] | None = None

    def get_default_settings(self) -> dict[str, Any]:
        return {
            "secret_id": "",
            "secret_key": "",
            "token": "",
            "region": "",
            "bucket_name": "",
            "domain": "",
            "scheme": "https",
            "location": "",
            "url_window": 6 * 60 * 60,
            "timeout": (3.0, 20.0),
            "retries": 1,
            "file_overwrite": True,
            "max_memory_size": 8 * 1024 * 1024,
            "object_parameters": {},
        }

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_client": None}

    @property
    def host(self) -> str:
        return self.domain or f"{self.bucket_name}.cos.{self.region}.myqcloud.com"

    @property
    def client(self) -> Client:
        """The client of this process. A child must not share its parent's connections."""
        if self._client is None or self._client[0] != os.getpid():
            from fluxsite.cos.client import make_client

            client = make_client(
                secret_id=self.secret_id,
                secret_key=self.secret_key,
                token=self.token,
                host=self.host,
                scheme=self.scheme,
                timeout=self.timeout,
                retries=self.retries,
            )
            # Two threads may both get here; the loser's client is dropped, which does no harm.
            self._client = os.getpid(), client
        return self._client[1]

    # ------------------------------------------------------------ names
    def _key(self, name: str | os.PathLike[str]) -> str:
        """Return the key of an object. Raises SuspiciousFileOperation for what is no name."""
        relative = self._relative(name)
        if not relative:
            msg = f"{str(name)!r} does not name a file."
            raise SuspiciousFileOperation(msg)
        key = f"{self.location}/{relative}" if self.location else relative
        if len(key.encode()) > MAX_KEY_BYTES:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(name))
        return key

    def _relative(self, name: str | os.PathLike[str]) -> str:
        text = os.fspath(name).replace("\\", "/")
        parts = text.split("/")
        bad = any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in text)
        if bad or text.startswith("/") or ".." in parts:
            msg = f"{text!r} leads out of the storage or is no name."
            raise SuspiciousFileOperation(msg)
        return "/".join(part for part in parts if part not in ("", "."))

    def _prefix(self, inside: str = "") -> str:
        return f"{self.location}/{inside}" if self.location else inside

    def is_name_available(self, name: str, max_length: int | None = None) -> bool:
        # Whether it is taken shows when we try: asking first would cost a call and prove nothing.
        return not (max_length and len(name) > max_length)

    def get_alternative_name(self, file_root: str, file_ext: str) -> str:
        if self.file_overwrite:
            return f"{file_root}{file_ext}"
        return str(super().get_alternative_name(file_root, file_ext))

    # ------------------------------------------------------------ writing
    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        """Store `content` from its beginning and return its name. Raises OSError."""
        wanted = name or content.name
        with Body(content, max_memory_size=self.max_memory_size) as body:
            name = wanted
            while True:
                try:
                    return str(super().save(name, body, max_length))
                except FileExistsError:
                    if self.file_overwrite:
                        raise
                    path = PurePosixPath(str(wanted).replace("\\", "/"))
                    extension = "".join(path.suffixes)
                    root = path.name.removesuffix(extension)
                    name = str(path.with_name(self.get_alternative_name(root, extension)))

    def _save(self, name: str, content: Body) -> str:
        self.put(name, content, overwrite=self.file_overwrite)
        return self._relative(name)

    def put(self, name: str, body: Body, *, overwrite: bool) -> None:
        """Store under this very name. Raises FileExistsError if it is taken and must not be."""
        key = self._key(name)
        mark = secrets.token_hex(16)
        parameters: dict[str, Any] = {
            "ContentType": content_type_of(key),
            "CacheControl": CACHE_CONTROL,
            **self.object_parameters,
            "ContentMD5": base64.b64encode(bytes.fromhex(body.md5)).decode(),
        }
        if not overwrite:
            parameters["Metadata"] = {"x-cos-forbid-overwrite": "true", MARK: mark}
        try:
            answer = self._call("put_object", name, Body=body.payload(), Key=key, **parameters)
        except FileNotFoundError as error:
            # Nothing is missing where something is put, except the bucket.
            raise CosError(error.strerror or str(error), status=404) from error
        except FileExistsError:
            if overwrite or not self._is_from(mark, name):
                raise
        else:
            check_sum(answer, body.md5, name)

    def _is_from(self, mark: str, name: str) -> bool:
        """Tell whether the object that is in our way is our own.

        It is when the answer to our first try was lost and the SDK tried again.
        """
        try:
            return bool(self._head(name).get(MARK) == mark)
        except FileNotFoundError:
            return False

    def delete(self, name: str) -> None:
        """Remove an object. That it is not there is no error."""
        if not name:
            msg = "The name must be given to delete()."
            raise ValueError(msg)
        try:
            self._call("delete_object", name, Key=self._key(name))
        except FileNotFoundError:
            return

    # ------------------------------------------------------------ reading
    def _open(self, name: str, mode: str = "rb") -> COSFile:
        if mode not in ("rb", "wb"):
            msg = f"A file in COS is opened to read ('rb') or to write anew ('wb'), not {mode!r}."
            raise ValueError(msg)
        return COSFile(self, name, mode)

    def download(self, name: str) -> tuple[CaseInsensitiveDict[str], Any]:
        """Ask for an object; return its headers and its unread stream, to be closed."""
        answer = self._call("get_object", name, Key=self._key(name))
        return described(answer, name), answer.pop("Body").get_raw_stream()

    def _head(self, name: str) -> CaseInsensitiveDict[str]:
        return described(self._call("head_object", name, Key=self._key(name)), name)

    def exists(self, name: str) -> bool:
        """Tell whether there is an object of that name. Raises CosError if COS doesn't say."""
        try:
            self._head(name)
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int:
        return int(self._head(name)["Content-Length"])

    def get_modified_time(self, name: str) -> datetime:
        moment = parsedate_to_datetime(self._head(name)["Last-Modified"])
        return moment if settings.USE_TZ else moment.astimezone().replace(tzinfo=None)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """Return the names of the directories and of the files directly below `path`.

        A directory that does not exist is empty: COS has none.
        """
        relative = self._relative(path)
        prefix = self._prefix(f"{relative}/" if relative else "")
        directories, files = [], []
        for page in self._pages(prefix, delimiter="/"):
            directories += [
                each["Prefix"].removeprefix(prefix).rstrip("/")
                for each in page.get("CommonPrefixes", ())
            ]
            files += [each["Key"].removeprefix(prefix) for each in _files(page)]
        return directories, files

    def walk(self, prefix: str = "") -> Iterator[tuple[str, int, datetime]]:
        """Yield name, size in bytes and time of change (UTC) of every object.

        Of those whose name begins with `prefix`, in no particular order, by pages of 1,000.
        """
        base = self._prefix()
        for page in self._pages(f"{base}{prefix}"):
            for each in _files(page):
                changed = datetime.fromisoformat(each["LastModified"]).astimezone(UTC)
                yield each["Key"].removeprefix(base), int(each["Size"]), changed

    def _pages(self, prefix: str, delimiter: str = "") -> Iterator[Mapping[str, Any]]:
        marker = ""
        while True:
            page: Mapping[str, Any] = self._call(
                "list_objects", prefix, Prefix=prefix, Delimiter=delimiter, Marker=marker
            )
            if "IsTruncated" not in page:
                msg = f"The list of {prefix!r} is none: it is not from COS."
                raise CosError(msg)
            yield page
            if page["IsTruncated"] != "true":
                return
            following = page.get("NextMarker") or max(
                *(each["Key"] for each in page.get("Contents", ())),
                *(each["Prefix"] for each in page.get("CommonPrefixes", ())),
                *("", ""),
            )
            if following.encode() <= marker.encode():
                msg = f"COS lists {prefix!r} in circles."
                raise CosError(msg)
            marker = following

    def _call(self, method: str, name: str, **arguments: Any) -> CaseInsensitiveDict[Any]:
        client = self.client
        from fluxsite.cos.client import translated

        with translated(method, name):
            answer = getattr(client, method)(Bucket=self.bucket_name, **arguments)
        # Header names come as the server, or a proxy before it, likes to write them.
        return CaseInsensitiveDict(answer)

    # ------------------------------------------------------------ addresses
    def url(
        self,
        name: str,
        parameters: Mapping[str, str] | None = None,
        expire: int | None = None,
    ) -> str:
        """Return a signed address for GET.

        It stays the same within `url_window`, so that browsers find what they have loaded
        before. With `expire` it is good for exactly that many seconds. `parameters`, such as
        {"response-content-disposition": "attachment"}, are part of what is signed.
        """
        if expire is None:
            return self.signed_url(name, parameters=parameters)[0]
        now = int(time.time())
        return self._signed(self._key(name), parameters, now - CLOCK_SKEW_SECS, now + expire)

    def signed_url(
        self, name: str, *, parameters: Mapping[str, str] | None = None
    ) -> tuple[str, int]:
        """Return the address `url` gives, and for how many seconds it is still good."""
        key = self._key(name)
        # Each key has its own hour of change: not all pictures of a page become new at once.
        digest = hashlib.sha256(key.encode()).digest()
        offset = int.from_bytes(digest[:8], "big") % self.url_window
        now = time.time()
        begin = int((now - offset) // self.url_window) * self.url_window + offset
        end = begin + 2 * self.url_window
        return self._signed(key, parameters, begin - CLOCK_SKEW_SECS, end), int(end - now)

    def _signed(self, key: str, parameters: Mapping[str, str] | None, start: int, end: int) -> str:
        query = dict(parameters or {})
        if self.token:
            query["x-cos-security-token"] = self.token
        query |= signing.sign(
            method="get",
            path=f"/{key}",
            parameters=query,
            headers={"host": self.host},
            secret_id=self.secret_id,
            secret_key=self.secret_key,
            start=start,
            end=end,
        )
        path = "/".join(signing.encoded(part) for part in key.split("/"))
        pairs = (f"{signing.encoded(n)}={signing.encoded(v)}" for n, v in query.items())
        return f"{self.scheme}://{self.host}/{path}?{'&'.join(pairs)}"


def _files(page: Mapping[str, Any]) -> list[Mapping[str, str]]:
    # Consoles mark a directory by an object that ends in a slash.
    return [each for each in page.get("Contents", ()) if not each["Key"].endswith("/")]


def content_type_of(name: str) -> str:
    kind, encoding = _types.guess_type(name, strict=False)
    return kind if kind and not encoding else "application/octet-stream"
