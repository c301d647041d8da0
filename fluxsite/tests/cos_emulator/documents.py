"""The XML that COS reads and writes, errors apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from fluxsite.tests.cos_emulator.bucket import Page, StoredObject, Upload
from fluxsite.tests.cos_emulator.errors import Refusal

Member = tuple[str, "str | list[Member]"]


def write(root: str, members: Iterable[Member]) -> bytes:
    return f"<?xml version='1.0' encoding='utf-8' ?>\n{_element(root, list(members))}".encode()


def _element(name: str, value: str | list[Member]) -> str:
    inner = escape(value) if isinstance(value, str) else "".join(_element(*each) for each in value)
    return f"<{name}>{inner}</{name}>"


def moment(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def listing(*, bucket: str, page: Page, query: Mapping[str, str], limit: int) -> bytes:
    by_url = query.get("encoding-type") == "url"

    def spelled(key: str) -> str:
        return quote(key, safe="/-_.~") if by_url else key

    members: list[Member] = [
        ("Name", bucket),
        *([("EncodingType", "url")] if by_url else []),
        ("Prefix", spelled(query.get("prefix", ""))),
        ("Marker", spelled(query.get("marker", ""))),
        ("MaxKeys", str(limit)),
        *([("Delimiter", spelled(query["delimiter"]))] if query.get("delimiter") else []),
        ("IsTruncated", "true" if page.next_marker else "false"),
        *([("NextMarker", spelled(page.next_marker))] if page.next_marker else []),
    ]
    members += [
        (
            "Contents",
            [
                ("Key", spelled(key)),
                ("LastModified", moment(each.modified)),
                ("ETag", each.etag),
                ("Size", str(len(each.body))),
                ("Owner", [("ID", "1250000000"), ("DisplayName", "1250000000")]),
                ("StorageClass", each.headers.get("x-cos-storage-class", "STANDARD")),
            ],
        )
        for key, each in page.objects
    ]
    members += [("CommonPrefixes", [("Prefix", spelled(each))]) for each in page.prefixes]
    return write("ListBucketResult", members)


def copied(made: StoredObject) -> bytes:
    return write("CopyObjectResult", [("ETag", made.etag), ("LastModified", moment(made.modified))])


def begun(*, bucket: str, key: str, upload_id: str) -> bytes:
    members: list[Member] = [("Bucket", bucket), ("Key", key), ("UploadId", upload_id)]
    return write("InitiateMultipartUploadResult", members)


def completed(*, bucket: str, key: str, location: str, made: StoredObject) -> bytes:
    members: list[Member] = [
        ("Location", location),
        ("Bucket", bucket),
        ("Key", key),
        ("ETag", made.etag),
    ]
    return write("CompleteMultipartUploadResult", members)


def parts(*, bucket: str, upload_id: str, upload: Upload) -> bytes:
    members: list[Member] = [
        ("Bucket", bucket),
        ("Key", upload.key),
        ("UploadId", upload_id),
        ("IsTruncated", "false"),
        *(
            ("Part", [("PartNumber", str(number)), ("Size", str(len(body)))])
            for number, body in sorted(upload.parts.items())
        ),
    ]
    return write("ListPartsResult", members)


def uploads(*, bucket: str, running: Mapping[str, Upload]) -> bytes:
    members: list[Member] = [
        ("Bucket", bucket),
        ("IsTruncated", "false"),
        *(
            ("Upload", [("Key", upload.key), ("UploadId", upload_id)])
            for upload_id, upload in running.items()
        ),
    ]
    return write("ListMultipartUploadsResult", members)


def deleted(*, keys: list[str], quiet: bool) -> bytes:
    return write("DeleteResult", [] if quiet else [("Deleted", [("Key", key)]) for key in keys])


def read_deletion(body: bytes) -> tuple[list[str], bool]:
    """Return the keys to delete, and whether to be quiet about it."""
    root = _read(body)
    keys = [each.findtext("Key") or "" for each in root.iter("Object")]
    return keys, root.findtext("Quiet") == "true"


def read_completion(body: bytes) -> list[tuple[int, str]]:
    return [
        (int(each.findtext("PartNumber") or 0), each.findtext("ETag") or "")
        for each in _read(body).iter("Part")
    ]


def _read(body: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise Refusal("MalformedXML") from error
