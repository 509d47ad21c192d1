"""RenameObject: in one step the current version of one key becomes that of another."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote_to_bytes

from holdfast.http.message import Response
from holdfast.meta.commands import Conditions, Refused, RenameObject
from holdfast.s3.authorize import require
from holdfast.s3.call import Call
from holdfast.s3.conditions import bare_etag, create_only, wanted_etag
from holdfast.s3.errors import S3Error
from holdfast.s3.faults import refusal
from holdfast.s3.names import check_key
from holdfast.s3.operation import OBJECT, Header, Input, operation
from holdfast.s3.ops.write import write_conditions


class RenameObjectInput(Input):
    source: Annotated[str, Header("x-amz-rename-source")] = ""
    source_if_match: Annotated[str, Header("x-amz-rename-source-if-match", wanted_etag)] = ""
    source_if_none_match: Annotated[str, Header("x-amz-rename-source-if-none-match", bare_etag)] = (
        ""
    )
    if_match: Annotated[str, Header("if-match", wanted_etag)] = ""
    if_none_match: Annotated[str, Header("if-none-match", create_only)] = ""
    client_token: Annotated[str, Header("x-amz-client-token")] = ""


@operation("RenameObject", "PUT", OBJECT, query=("renameObject",), action="s3:PutObject")
async def rename_object(call: Call, inp: RenameObjectInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_RenameObject.html

    Deviation: it works in general purpose buckets that never had versioning (AWS has it in directory
    buckets only). A repeated request is not known by its client token: it answers 404 once the
    source is gone.
    """
    bucket = await call.bucket()
    source = unquote_to_bytes(inp.source.encode("latin-1")).removeprefix(b"/")
    if not source:
        raise S3Error(
            "InvalidArgument",
            "The rename source must name a key.",
            ArgumentName="x-amz-rename-source",
            ArgumentValue=inp.source,
        )
    check_key(source)
    if source == call.key:
        raise S3Error("InvalidRequest", "An object can't be renamed to itself.")
    for action in ("s3:GetObject", "s3:DeleteObject"):
        await require(call, action, bucket, source)
    result = await call.services.meta.submit(
        RenameObject(
            bucket.id,
            source,
            call.key,
            Conditions(inp.source_if_match, inp.source_if_none_match),
            write_conditions(inp.if_match, inp.if_none_match) or Conditions(),
        )
    )
    if isinstance(result, Refused):
        if result.code == "NotImplemented":
            raise S3Error(
                "NotImplemented", "RenameObject is not implemented in a bucket with versioning."
            )
        raise refusal(result)
    return call.empty()
