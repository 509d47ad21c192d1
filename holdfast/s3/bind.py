"""From headers and query to the typed input of an operation, in one walk over what was sent.

Fail closed: a header that S3 gives a meaning to, and this operation does not take, is refused.
"""

from __future__ import annotations

from typing import Any

from holdfast.s3.catalogue import MEANINGFUL_HEADERS, WRITE_CONDITIONS
from holdfast.s3.checksums import BY_HEADER, encode_digest
from holdfast.s3.errors import S3Error
from holdfast.s3.operation import Input, Operation

_READS = frozenset(("GET", "HEAD"))
#: names remembered for each operation, and the longest that is
_MEANINGLESS_MAX = 256
_MEANINGLESS_BYTES_MAX = 64


def bind(op: Operation, headers: dict[str, str], query: dict[str, str]) -> Input:
    """Raises NotImplemented, or what the parse functions raise (S3Error)."""
    params = op.params
    known = params.headers
    meaningless = op.meaningless
    values: dict[str, Any] = {}
    collected: dict[str, str] | None = None
    for name, value in headers.items():
        if name in meaningless:
            continue
        param = known.get(name)
        if param is not None:
            attr, parse = param
            values[attr] = value if parse is None else parse(value)
        elif params.prefix is not None and name.startswith(params.prefix[0]):
            if collected is None:
                collected = values[params.prefix[1]] = {}
            collected[name[len(params.prefix[0]) :]] = value
        elif name not in op.takes and (
            name in MEANINGFUL_HEADERS or (name in WRITE_CONDITIONS and op.method not in _READS)
        ):
            refuse_header(op, name, value)
        elif len(meaningless) < _MEANINGLESS_MAX and len(name) <= _MEANINGLESS_BYTES_MAX:
            meaningless.add(name)
    if query:
        for name, (attr, parse) in params.query.items():
            if name in query:
                values[attr] = query[name] if parse is None else parse(query[name])
    return op.input_type(**values)


def refuse_header(op: Operation, name: str, value: str) -> None:
    """Raises, unless the value asks for nothing but what happens anyhow."""
    if name == "x-amz-acl" and value in ("private", "bucket-owner-full-control"):
        return
    if name == "x-amz-acl" or name.startswith("x-amz-grant-"):
        raise S3Error("AccessControlListNotSupported")
    if (name, value.lower()) in _WITHOUT_EFFECT:
        return
    if (op.name, name, value) in _ALWAYS_TRUE:
        return
    # the AWS SDK for Java sends the checksum of the body also with a GET, which has none
    alg = BY_HEADER.get(name) if op.method in _READS else None
    if alg is not None and value == encode_digest(alg.digest(b"")):
        return
    raise S3Error(
        "NotImplemented",
        f"{op.name} with the header {name} is not implemented.",
        Header=name,
    )


#: values that S3 defines as the default: they change nothing
_WITHOUT_EFFECT = frozenset(
    (
        ("x-amz-object-ownership", "bucketownerenforced"),
        ("x-amz-bucket-object-lock-enabled", "false"),
        ("x-amz-bypass-governance-retention", "false"),
        ("x-amz-server-side-encryption-bucket-key-enabled", "false"),
        ("x-amz-tagging-directive", "copy"),
        ("x-amz-object-annotation-directive", "copy"),
    )
)

#: of one operation: what is so without being asked for. What is sent in one go has no other
#: checksum than that of the whole; minio-go says so for CRC64NVME
_ALWAYS_TRUE = frozenset(
    (
        ("PutObject", "x-amz-checksum-type", "FULL_OBJECT"),
        ("UploadPart", "x-amz-checksum-type", "FULL_OBJECT"),
    )
)
