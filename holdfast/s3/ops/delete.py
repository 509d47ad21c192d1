"""DeleteObject and DeleteObjects."""

from __future__ import annotations

from typing import Annotated
from xml.etree import ElementTree

from holdfast.http.message import Response
from holdfast.meta.commands import (
    NO_CONDITIONS,
    Command,
    Conditions,
    DeleteObject,
    ObjectDeleted,
    Refused,
    Result,
)
from holdfast.meta.records import Bucket
from holdfast.s3 import xml
from holdfast.s3.acl import writer
from holdfast.s3.authorize import nothing_allows, require
from holdfast.s3.call import Call
from holdfast.s3.checksums import HEADERS
from holdfast.s3.conditions import bare_etag, wanted_etag
from holdfast.s3.dates import parse_any_date
from holdfast.s3.errors import ERRORS, S3Error
from holdfast.s3.faults import refusal
from holdfast.s3.names import KEY_BYTES_MAX, encode_version_id, version_seq
from holdfast.s3.numbers import whole_number
from holdfast.s3.object_lock import bypass
from holdfast.s3.operation import BUCKET, OBJECT, Header, Input, Query, operation
from holdfast.s3.payload import read_document
from holdfast.s3.render import version_header
from holdfast.s3.xml import LONG_XML_BODY_BYTES_MAX, element, text_of, understood

DELETE_KEYS_MAX = 1000


def _moment_ms(text: str) -> int:
    seconds = parse_any_date(text)
    if seconds is None:
        raise S3Error("InvalidArgument", "The last modified time is not a date.")
    # to the store 0 is no condition; no object is that old, so another old moment says the same
    return seconds * 1000 or -1000


def _size(text: str) -> int:
    size = whole_number(text)
    if size is None:
        raise S3Error("InvalidArgument", "The size is not a number of bytes.")
    return size


class DeleteObjectInput(Input):
    version_id: Annotated[str, Query("versionId")] = ""
    if_match: Annotated[str, Header("if-match", wanted_etag)] = ""
    if_modified_ms: Annotated[int, Header("x-amz-if-match-last-modified-time", _moment_ms)] = 0
    if_size: Annotated[int, Header("x-amz-if-match-size", _size)] = -1
    bypass: Annotated[bool, Header("x-amz-bypass-governance-retention", bypass)] = False


@operation("DeleteObject", "DELETE", OBJECT, status=204)
async def delete_object(call: Call, inp: DeleteObjectInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html"""
    bucket = await call.bucket()
    command = DeleteObject(
        bucket.id,
        call.key,
        await writer(call, bucket),
        version_seq(inp.version_id),
        Conditions(inp.if_match, "", inp.if_modified_ms, inp.if_size),
        inp.bypass,
    )
    result = await call.services.meta.submit(command)
    if _was_absent(command, result):
        return call.empty()
    if isinstance(result, Refused):
        raise refusal(result)
    assert isinstance(result, ObjectDeleted)
    headers: list[tuple[str, str]] = []
    if result.delete_marker:
        headers.append(("x-amz-delete-marker", "true"))
    if inp.version_id:
        headers.append(("x-amz-version-id", inp.version_id))
    elif result.marker_made:
        headers.append(version_header(result.seq, result.is_null))
    return call.empty(headers)


def _was_absent(command: DeleteObject, result: Result) -> bool:
    """Whether there was nothing to hold a size or a time against: S3 calls that a success, and only
    a missing entity tag a failure."""
    return (
        isinstance(result, Refused)
        and result.code == "NoSuchKey"
        and not command.conditions.if_match
    )


class DeleteObjectsInput(Input):
    bypass: Annotated[bool, Header("x-amz-bypass-governance-retention", bypass)] = False


@operation(
    "DeleteObjects",
    "POST",
    BUCKET,
    query=("delete",),
    action="s3:DeleteObject",
    takes=HEADERS,
    authorizes=True,
)
async def delete_objects(call: Call, inp: DeleteObjectsInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html

    Each entry is allowed and atomic by itself; all of them share their sync.
    """
    if await nothing_allows(call, await call.bucket()):
        raise S3Error("AccessDenied")
    body = await read_document(call.request, call.auth, LONG_XML_BODY_BYTES_MAX)
    if not body:
        raise S3Error("MissingRequestBodyError")
    bucket = await call.bucket()
    entries, quiet = await understood(_asked, body)
    owner = await writer(call, bucket)
    answers: list[str] = []
    named: list[tuple[str, str]] = []
    commands: list[DeleteObject] = []
    for entry in entries:
        key, version_id = text_of(entry, "Key"), text_of(entry, "VersionId") or ""
        if not key:
            raise S3Error("MalformedXML")
        try:
            await _check_allowed(call, inp, bucket, entry, key, version_id)
            commands.append(_entry_command(owner, inp, bucket, entry, key, version_id))
        except S3Error as error:
            answers.append(_error_entry(key, version_id, error))
        else:
            named.append((key, version_id))
    results = await call.services.meta.submit_all(list[Command](commands))
    for (key, version_id), command, result in zip(named, commands, results, strict=True):
        if _was_absent(command, result):
            result = ObjectDeleted()
        answers.append(_answer(key, version_id, result, quiet))
    return call.xml(xml.document("DeleteResult", "".join(answers)))


def _asked(body: bytes) -> tuple[list[ElementTree.Element], bool]:
    """The entries, and whether only errors are to be answered. Raises MalformedXML."""
    tree = xml.parse(body, "Delete")
    entries = tree.findall("Object")
    if not entries or len(entries) > DELETE_KEYS_MAX:
        raise S3Error("MalformedXML")
    return entries, (text_of(tree, "Quiet") or "").strip().lower() == "true"


async def _check_allowed(
    call: Call,
    inp: DeleteObjectsInput,
    bucket: Bucket,
    entry: ElementTree.Element,
    key: str,
    version_id: str,
) -> None:
    """Raises AccessDenied."""
    name = key.encode("utf-8")
    await require(call, "s3:DeleteObject", bucket, name, version_id)
    if bare_etag(text_of(entry, "ETag") or "*") != "*":  # as If-Match of DeleteObject
        await require(call, "s3:GetObject", bucket, name)
    if inp.bypass:
        await require(call, "s3:BypassGovernanceRetention", bucket, name, version_id)


def _entry_command(
    owner: str,
    inp: DeleteObjectsInput,
    bucket: Bucket,
    entry: ElementTree.Element,
    key: str,
    version_id: str,
) -> DeleteObject:
    name = key.encode("utf-8")
    if len(name) > KEY_BYTES_MAX:
        raise S3Error("KeyTooLongError")
    etag, size = text_of(entry, "ETag"), text_of(entry, "Size")
    modified = text_of(entry, "LastModifiedTime")
    conditions = NO_CONDITIONS
    if not (etag is None and size is None and modified is None):
        conditions = Conditions(
            "" if etag is None else wanted_etag(etag),
            "",
            0 if modified is None else _moment_ms(modified),
            -1 if size is None else _size(size),
        )
    return DeleteObject(bucket.id, name, owner, version_seq(version_id), conditions, inp.bypass)


def _answer(key: str, version_id: str, result: Result, quiet: bool) -> str:
    if isinstance(result, Refused):
        return _error_entry(key, version_id, refusal(result))
    assert isinstance(result, ObjectDeleted)
    if quiet:
        return ""
    version = element("VersionId", version_id) if version_id else ""
    if result.delete_marker:
        marker = version_id or encode_version_id(result.seq, result.is_null)
        version += f"<DeleteMarker>true</DeleteMarker>{element('DeleteMarkerVersionId', marker)}"
    return f"<Deleted>{element('Key', key)}{version}</Deleted>"


def _error_entry(key: str, version_id: str, error: S3Error) -> str:
    version = element("VersionId", version_id) if version_id else ""
    message = error.message or ERRORS[error.code].message
    return (
        f"<Error>{element('Key', key)}{version}{element('Code', error.code)}"
        f"{element('Message', message)}</Error>"
    )
