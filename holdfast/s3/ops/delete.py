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
from holdfast.s3.call import Call
from holdfast.s3.checksums import HEADERS
from holdfast.s3.conditions import wanted_etag
from holdfast.s3.dates import parse_any_date
from holdfast.s3.errors import ERRORS, S3Error
from holdfast.s3.names import KEY_BYTES_MAX
from holdfast.s3.numbers import whole_number
from holdfast.s3.operation import BUCKET, OBJECT, Header, Input, Query, operation
from holdfast.s3.ops.write import refusal
from holdfast.s3.payload import read_document
from holdfast.s3.xml import XML_BODY_BYTES_MAX, element, text_of

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


def _version_seq(version_id: str) -> int:
    if version_id in ("", "null"):
        return -1 if version_id else 0
    raise S3Error(
        "InvalidArgument",
        "Invalid version id specified",
        ArgumentName="versionId",
        ArgumentValue=version_id,
    )


@operation("DeleteObject", "DELETE", OBJECT, status=204)
async def delete_object(call: Call, inp: DeleteObjectInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html"""
    bucket = await call.bucket()
    command = DeleteObject(
        bucket.id,
        call.key,
        call.account_id,
        _version_seq(inp.version_id),
        Conditions(inp.if_match, "", inp.if_modified_ms, inp.if_size),
    )
    result = await call.services.meta.submit(command)
    if isinstance(result, Refused):
        raise refusal(result)
    assert isinstance(result, ObjectDeleted)
    return call.empty([("x-amz-version-id", "null")] if inp.version_id else [])


class DeleteObjectsInput(Input):
    pass


@operation(
    "DeleteObjects", "POST", BUCKET, query=("delete",), action="s3:DeleteObject", takes=HEADERS
)
async def delete_objects(call: Call, inp: DeleteObjectsInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html

    Each entry is atomic by itself; all of them share their sync.
    """
    body = await read_document(call.request, call.auth, XML_BODY_BYTES_MAX)
    if not body:
        raise S3Error("MissingRequestBodyError")
    bucket = await call.bucket()
    tree = xml.parse(body, "Delete")
    quiet = (text_of(tree, "Quiet") or "").strip().lower() == "true"
    entries = tree.findall("Object")
    if not entries or len(entries) > DELETE_KEYS_MAX:
        raise S3Error("MalformedXML")
    answers: list[str] = []
    named: list[tuple[str, str]] = []
    commands: list[Command] = []
    for entry in entries:
        key, version_id = text_of(entry, "Key"), text_of(entry, "VersionId") or ""
        if not key:
            raise S3Error("MalformedXML")
        try:
            commands.append(_entry_command(call, bucket, entry, key, version_id))
        except S3Error as error:
            answers.append(_error_entry(key, version_id, error))
        else:
            named.append((key, version_id))
    for (key, version_id), result in zip(
        named, await call.services.meta.submit_all(commands), strict=True
    ):
        answers.append(_answer(key, version_id, result, quiet))
    return call.xml(xml.document("DeleteResult", "".join(answers)))


def _entry_command(
    call: Call, bucket: Bucket, entry: ElementTree.Element, key: str, version_id: str
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
    return DeleteObject(bucket.id, name, call.account_id, _version_seq(version_id), conditions)


def _answer(key: str, version_id: str, result: Result, quiet: bool) -> str:
    if isinstance(result, Refused):
        return _error_entry(key, version_id, refusal(result))
    assert isinstance(result, ObjectDeleted)
    if quiet:
        return ""
    version = element("VersionId", version_id) if version_id else ""
    return f"<Deleted>{element('Key', key)}{version}</Deleted>"


def _error_entry(key: str, version_id: str, error: S3Error) -> str:
    version = element("VersionId", version_id) if version_id else ""
    message = error.message or ERRORS[error.code].message
    return (
        f"<Error>{element('Key', key)}{version}{element('Code', error.code)}"
        f"{element('Message', message)}</Error>"
    )
