"""Changing what may change of a version: tags, retention, legal hold, ACL."""

from __future__ import annotations

from holdfast.http.message import Response
from holdfast.meta.commands import ChangeVersion, Refused, VersionChanged
from holdfast.meta.records import Bucket
from holdfast.s3.call import Call
from holdfast.s3.errors import S3Error
from holdfast.s3.faults import refusal
from holdfast.s3.render import version_header


async def change_version(call: Call, bucket: Bucket, command: ChangeVersion) -> Response:
    """Submit; the answer names the version. Raises what the command is refused with."""
    result = await call.services.meta.submit(command)
    if isinstance(result, Refused):
        if result.code == "InvalidRequest":
            raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")
        error = refusal(result)
        if result.code == "MethodNotAllowed":
            error.headers = [("x-amz-delete-marker", "true")]
        raise error
    assert isinstance(result, VersionChanged)
    if bucket.versioning:
        return call.empty([version_header(result.seq, result.is_null)])
    return call.empty()
