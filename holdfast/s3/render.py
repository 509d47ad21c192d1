"""Answers: the error document, and the headers that describe an object."""

from __future__ import annotations

from urllib.parse import unquote

from holdfast.http.message import Request, Response
from holdfast.meta.records import ObjectVersion
from holdfast.s3.dates import http_date, iso_moment
from holdfast.s3.errors import S3Error
from holdfast.s3.names import encode_version_id
from holdfast.s3.xml import DECLARATION, XML_TYPE, element, legible

#: system metadata in S3's own spelling; kept and returned as sent
SYSTEM_HEADERS = {
    "cache-control": "Cache-Control",
    "content-disposition": "Content-Disposition",
    "content-encoding": "Content-Encoding",
    "content-language": "Content-Language",
    "content-type": "Content-Type",
    "expires": "Expires",
    "x-amz-website-redirect-location": "x-amz-website-redirect-location",
}
DEFAULT_CONTENT_TYPE = "binary/octet-stream"


def error_response(request: Request, error: S3Error) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""
    if error.status == 304:
        return Response(304, error.headers)
    fields = "".join(element(name, legible(value)) for name, value in error.fields.items())
    body = (
        f"{DECLARATION}<Error>{element('Code', error.code)}"
        f"{element('Message', legible(error.message))}{fields}"
        f"{element('Resource', legible(unquote(request.path)))}"
        f"{element('RequestId', request.id)}<HostId>holdfast</HostId></Error>"
    ).encode("utf-8", "replace")
    return Response(error.status, [*error.headers, XML_TYPE], body)


def protocol_error_response(status: int, reason: str, request_id: str) -> Response:
    """The answer to a request that HTTP itself could not read, in S3's form."""
    code = {
        408: "RequestTimeout",
        414: "InvalidURI",
        431: "RequestHeaderSectionTooLarge",
        500: "InternalError",
        501: "NotImplemented",
        503: "SlowDown",
    }.get(status, "BadRequest")
    body = (
        f"{DECLARATION}<Error>{element('Code', code)}{element('Message', reason)}"
        f"{element('RequestId', request_id)}<HostId>holdfast</HostId></Error>"
    ).encode()
    return Response(status, [XML_TYPE, ("x-amz-request-id", request_id)], body, close=True)


def object_headers(version: ObjectVersion) -> list[tuple[str, str]]:
    """What GetObject and HeadObject say of a version, but for its length."""
    headers = [
        ("ETag", f'"{version.etag}"'),
        ("Last-Modified", http_date(version.modified_ms)),
        ("Accept-Ranges", "bytes"),
    ]
    system = version.headers
    if system:
        for name, value in system.items():
            headers.append((SYSTEM_HEADERS[name], value))
    if "content-type" not in system:
        headers.append(("Content-Type", DEFAULT_CONTENT_TYPE))
    for name, value in version.metadata.items():
        headers.append((f"x-amz-meta-{name}", value))
    if version.storage_class != "STANDARD":
        headers.append(("x-amz-storage-class", version.storage_class))
    if version.tags:
        headers.append(("x-amz-tagging-count", str(len(version.tags))))
    if version.lock_mode:
        headers += [
            ("x-amz-object-lock-mode", version.lock_mode),
            ("x-amz-object-lock-retain-until-date", iso_moment(version.retain_until_ms)),
        ]
    if version.legal_hold:
        headers.append(("x-amz-object-lock-legal-hold", "ON"))
    return headers


def checksum_headers(algorithm: str, kind: str, checksum: str) -> list[tuple[str, str]]:
    if not checksum:
        return []
    return [(f"x-amz-checksum-{algorithm.lower()}", checksum), ("x-amz-checksum-type", kind)]


def version_header(seq: int, is_null: bool) -> tuple[str, str]:
    return ("x-amz-version-id", encode_version_id(seq, is_null))
