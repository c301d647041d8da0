"""The vendor's client with its edges taken off. Importing this imports the SDK.

It takes a redirect for success, listens to the proxies of the environment, shares one
connection pool between all clients of a process, and reports trouble in ways that depend on
what the answer looked like. All of that ends here.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import requests
import urllib3
from qcloud_cos import CosConfig, CosS3Client
from qcloud_cos.cos_exception import CosClientError, CosServiceError

from fluxsite.cos.errors import CosError, describe

#: Enough for the threads of one process; more connections are made and not kept.
POOL_SIZE = 16
#: What the SDK lets through: its own, those of the libraries below it, and unreadable XML.
TROUBLE = (
    CosClientError,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    ElementTree.ParseError,
)


class Client(CosS3Client):  # type: ignore[misc]
    """The SDK's client, for which an answer is good only if its status says so."""

    def send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        response = super().send_request(method, url, *args, **kwargs)
        if 200 <= response.status_code < 300:
            return response
        headers = response.headers
        response.close()
        raise CosServiceError(method, headers, response.status_code)


def make_client(
    *,
    secret_id: str,
    secret_key: str,
    token: str,
    host: str,
    scheme: str,
    timeout: tuple[float, float],
    retries: int,
) -> Client:
    """Return a client for one process; its threads may share it. Raises CosError."""
    session = requests.Session()
    # Neither proxies nor passwords from wherever the process was started.
    session.trust_env = False
    # Pictures do not shrink, and a length that is not the object's could not be checked.
    session.headers["Accept-Encoding"] = "identity"
    for prefix in ("https://", "http://"):
        adapter = requests.adapters.HTTPAdapter(pool_connections=2, pool_maxsize=POOL_SIZE)
        session.mount(prefix, adapter)
    with translated("configure", host):
        config = CosConfig(
            SecretId=secret_id,
            SecretKey=secret_key,
            Token=token or None,
            Domain=host,
            Scheme=scheme,
            Timeout=timeout,
        )
        return Client(config, retry=retries, session=session)


@contextlib.contextmanager
def translated(action: str, name: str) -> Iterator[None]:
    """Turn what the SDK raises into OSErrors: not found, exists, or CosError.

    `action` and `name` say what was asked for, in the text of the error.
    """
    try:
        yield
    except CosServiceError as error:
        raise _translated(error, action, name) from error
    except TROUBLE as error:
        # The SDK flattens network errors to text, and keeps the real one in the context.
        reason = error.__context__ or error
        text = f"COS could not be asked to {action} {name!r}: {type(reason).__name__}"
        raise CosError(text) from error


def _translated(error: CosServiceError, action: str, name: str) -> OSError:
    status: int = error.get_status_code()
    # Only the status can be relied on: the SDK knows the code of some answers and not of others.
    code = _member(error, "Code")
    request_id = _member(error, "RequestId") or _header(error, "x-cos-request-id")
    text = describe(status=status, code=code, request_id=request_id, action=action, name=name)
    if status == 404 and code != "NoSuchBucket":
        return FileNotFoundError(errno.ENOENT, text, name)
    if status == 409:
        return FileExistsError(errno.EEXIST, text, name)
    return CosError(text, status=status, code=code, request_id=request_id)


def _member(error: CosServiceError, name: str) -> str:
    text = error.get_origin_msg()
    match = re.search(rf"<{name}>([\w.:=+/-]{{1,128}})</{name}>", text) if text else None
    return match[1] if match else ""


def _header(error: CosServiceError, name: str) -> str:
    digest = error.get_digest_msg()
    if not hasattr(digest, "get"):
        return ""
    return str(digest.get(name) or digest.get("requestid") or "")
