"""GetObjectAttributes: what is known of a version and its parts, without the content."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from holdfast.http.message import Response
from holdfast.meta.records import ObjectVersion
from holdfast.s3 import xml
from holdfast.s3.call import Call
from holdfast.s3.checksums import checksum_elements
from holdfast.s3.dates import http_date
from holdfast.s3.errors import S3Error
from holdfast.s3.numbers import whole_number
from holdfast.s3.operation import OBJECT, Header, Input, Query, operation
from holdfast.s3.ops.listing import INTEGER_MAX
from holdfast.s3.ops.read import find_version
from holdfast.s3.render import version_header
from holdfast.s3.xml import element

ATTRIBUTES = frozenset(("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"))
PARTS_MAX = 1000


def _names(text: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    if not names <= ATTRIBUTES:
        raise S3Error(
            "InvalidArgument",
            "Invalid attribute name specified.",
            ArgumentName="x-amz-object-attributes",
            ArgumentValue=text,
        )
    return names


def _bounded(header: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = whole_number(text)
        if number is None or number > INTEGER_MAX:
            raise S3Error(
                "InvalidArgument",
                f"{header} is not an integer or within integer range",
                ArgumentName=header,
                ArgumentValue=text,
            )
        return number

    return parse


class GetObjectAttributesInput(Input):
    names: Annotated[frozenset[str], Header("x-amz-object-attributes", _names)] = frozenset()
    max_parts: Annotated[int, Header("x-amz-max-parts", _bounded("x-amz-max-parts"))] = PARTS_MAX
    marker: Annotated[
        int, Header("x-amz-part-number-marker", _bounded("x-amz-part-number-marker"))
    ] = 0
    version_id: Annotated[str, Query("versionId")] = ""


@operation("GetObjectAttributes", "GET", OBJECT, query=("attributes",))
async def get_object_attributes(call: Call, inp: GetObjectAttributesInput) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html"""
    bucket = await call.bucket()
    if not inp.names:
        raise S3Error(
            "InvalidArgument",
            "At least one attribute name must be specified.",
            ArgumentName="x-amz-object-attributes",
        )
    version = (await find_version(call, bucket, call.key, inp.version_id)).version
    inner = ""
    if "ETag" in inp.names:
        inner += element("ETag", version.etag)
    if "Checksum" in inp.names and version.checksum:
        written = checksum_elements(
            version.checksum_algorithm, version.checksum_type, version.checksum
        )
        inner += f"<Checksum>{written}</Checksum>"
    if "ObjectParts" in inp.names and version.parts_count:
        inner += await _parts(call, inp, version)
    if "StorageClass" in inp.names:
        inner += element("StorageClass", version.storage_class)
    if "ObjectSize" in inp.names:
        inner += element("ObjectSize", str(version.size))
    response = call.xml(xml.document("GetObjectAttributesResponse", inner))
    response.headers.append(("Last-Modified", http_date(version.modified_ms)))
    if bucket.versioning or inp.version_id:
        response.headers.append(version_header(version.seq, version.is_null))
    return response


async def _parts(call: Call, inp: GetObjectAttributesInput, version: ObjectVersion) -> str:
    limit = min(inp.max_parts, PARTS_MAX)
    parts = await call.services.meta.parts(version.parts_id, inp.marker, limit + 1)
    truncated = len(parts) > limit
    parts = parts[:limit]
    rows = "".join(
        f"<Part><PartNumber>{part.number}</PartNumber><Size>{part.size}</Size>"
        + (
            checksum_elements(part.checksum_algorithm, "", part.checksum)
            if part.checksum_algorithm == version.checksum_algorithm
            else ""
        )
        + "</Part>"
        for part in parts
    )
    return (
        f"<ObjectParts><PartsCount>{version.parts_count}</PartsCount>"
        f"<PartNumberMarker>{inp.marker}</PartNumberMarker>"
        f"<NextPartNumberMarker>{parts[-1].number if parts else 0}</NextPartNumberMarker>"
        f"<MaxParts>{limit}</MaxParts><IsTruncated>{str(truncated).lower()}</IsTruncated>"
        f"{rows}</ObjectParts>"
    )
