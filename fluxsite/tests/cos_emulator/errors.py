"""How COS says no."""

from __future__ import annotations

from xml.sax.saxutils import escape

MESSAGES = {
    "AccessDenied": (403, "Access Denied."),
    "BadDigest": (400, "The Content-MD5 you specified did not match what we received."),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty."),
    "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed size."),
    "FileAlreadyExists": (409, "The file already exists."),
    "InvalidAccessKeyId": (403, "The Access Key Id you provided does not exist in our records."),
    "InvalidArgument": (400, "Invalid Argument."),
    "InvalidDigest": (400, "The Content-MD5 you specified is not valid."),
    "InvalidPart": (400, "One or more of the specified parts could not be found."),
    "InvalidRange": (416, "The requested range is not satisfiable."),
    "KeyTooLong": (400, "Your key is too long."),
    "MalformedXML": (400, "The XML you provided was not well-formed."),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "NoSuchBucket": (404, "The specified bucket does not exist."),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchUpload": (404, "The specified multipart upload does not exist."),
    "PreconditionFailed": (412, "Precondition Failed"),
    "RequestTimeTooSkewed": (403, "Request has expired."),
    "ServiceUnavailable": (503, "Please reduce your request rate."),
    "SignatureDoesNotMatch": (403, "The Signature you specified is invalid."),
}


class Refusal(Exception):
    """An answer that is an error; `code` is a key of MESSAGES."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.status, self.message = MESSAGES[code]
        super().__init__(code)


def document(*, code: str, message: str, resource: str, request_id: str) -> bytes:
    members = {
        "Code": code,
        "Message": message,
        "Resource": resource,
        "RequestId": request_id,
        "TraceId": request_id[::-1],
    }
    lines = "".join(f"\t<{name}>{escape(value)}</{name}>\n" for name, value in members.items())
    return f"<?xml version='1.0' encoding='utf-8' ?>\n<Error>\n{lines}</Error>\n".encode()
