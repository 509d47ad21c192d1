"""Routing: AWS's documented operations as the table; nothing falls through to another verb."""

from __future__ import annotations

import pytest

from holdfast.s3.catalogue import ALIASES
from holdfast.s3.errors import S3Error
from holdfast.s3.operation import BUCKET, OBJECT, OPERATIONS, SERVICE, Level
from holdfast.s3.routing import make_router

ROUTER = make_router()

#: (method, level, query, header) -> the operation that AWS documents for it
DOCUMENTED: list[tuple[str, Level, dict[str, str], str, str]] = [
    ("GET", SERVICE, {}, "", "ListBuckets"),
    ("GET", SERVICE, {"max-buckets": "2"}, "", "ListBuckets"),
    ("GET", SERVICE, {"x-id": "ListBuckets"}, "", "ListBuckets"),
    ("PUT", BUCKET, {}, "", "CreateBucket"),
    ("HEAD", BUCKET, {}, "", "HeadBucket"),
    ("DELETE", BUCKET, {}, "", "DeleteBucket"),
    ("GET", BUCKET, {"location": ""}, "", "GetBucketLocation"),
    ("GET", BUCKET, {"prefix": "a", "delimiter": "/"}, "", "ListObjects"),
    ("GET", BUCKET, {"list-type": "2", "prefix": "a"}, "", "ListObjectsV2"),
    ("GET", BUCKET, {"versions": ""}, "", "ListObjectVersions"),
    ("GET", BUCKET, {"uploads": ""}, "", "ListMultipartUploads"),
    ("POST", BUCKET, {"delete": ""}, "", "DeleteObjects"),
    ("POST", BUCKET, {}, "", "PostObject"),
    ("PUT", OBJECT, {}, "", "PutObject"),
    ("PUT", OBJECT, {"x-id": "PutObject"}, "", "PutObject"),
    ("PUT", OBJECT, {}, "x-amz-copy-source", "CopyObject"),
    ("PUT", OBJECT, {"partNumber": "1", "uploadId": "u"}, "", "UploadPart"),
    (
        "PUT",
        OBJECT,
        {"partNumber": "1", "uploadId": "u"},
        "x-amz-copy-source",
        "UploadPartCopy",
    ),
    ("PUT", OBJECT, {"annotation": "", "annotationName": "n"}, "", "PutObjectAnnotation"),
    ("PUT", OBJECT, {"renameObject": ""}, "x-amz-rename-source", "RenameObject"),
    ("PUT", OBJECT, {"encryption": ""}, "", "UpdateObjectEncryption"),
    ("GET", OBJECT, {}, "", "GetObject"),
    ("GET", OBJECT, {"versionId": "null"}, "", "GetObject"),
    ("GET", OBJECT, {"response-expires": "x"}, "", "GetObject"),
    ("GET", OBJECT, {"uploadId": "u"}, "", "ListParts"),
    ("GET", OBJECT, {"attributes": ""}, "", "GetObjectAttributes"),
    ("GET", OBJECT, {"retention": ""}, "", "GetObjectRetention"),
    ("HEAD", OBJECT, {}, "", "HeadObject"),
    ("POST", OBJECT, {"uploads": ""}, "", "CreateMultipartUpload"),
    ("POST", OBJECT, {"uploadId": "u"}, "", "CompleteMultipartUpload"),
    ("POST", OBJECT, {"restore": ""}, "", "RestoreObject"),
    ("POST", OBJECT, {"select": "", "select-type": "2"}, "", "SelectObjectContent"),
    ("DELETE", OBJECT, {}, "", "DeleteObject"),
    ("DELETE", OBJECT, {"versionId": "null"}, "", "DeleteObject"),
    ("DELETE", OBJECT, {"uploadId": "u"}, "", "AbortMultipartUpload"),
    ("DELETE", OBJECT, {"annotation": ""}, "", "DeleteObjectAnnotation"),
    ("DELETE", BUCKET, {"replication": ""}, "", "DeleteBucketReplication"),
    ("DELETE", BUCKET, {"metadataTable": ""}, "", "DeleteBucketMetadataTableConfiguration"),
]


@pytest.mark.parametrize(("method", "level", "query", "header", "name"), DOCUMENTED)
def test_documented(
    method: str, level: Level, query: dict[str, str], header: str, name: str
) -> None:
    headers = {header: "/b/k"} if header else {}
    assert ROUTER.find(method, level, query, headers).name == name


@pytest.mark.parametrize(
    ("method", "level", "query", "code"),
    [
        ("POST", OBJECT, {}, "MethodNotAllowed"),
        ("PATCH", OBJECT, {}, "MethodNotAllowed"),
        ("DELETE", SERVICE, {}, "MethodNotAllowed"),
        ("OPTIONS", OBJECT, {}, "MethodNotAllowed"),
        # a sub-resource of S3 that the verb does not have must not reach the plain verb
        ("DELETE", BUCKET, {"versioning": ""}, "NotImplemented"),
        ("DELETE", BUCKET, {"location": ""}, "NotImplemented"),
        ("DELETE", BUCKET, {"uploads": ""}, "NotImplemented"),
        ("DELETE", OBJECT, {"acl": ""}, "NotImplemented"),
        ("DELETE", OBJECT, {"retention": ""}, "NotImplemented"),
        ("PUT", OBJECT, {"append": ""}, "NotImplemented"),
        ("PUT", OBJECT, {"torrent": ""}, "NotImplemented"),
        ("PUT", OBJECT, {"versionId": "null"}, "InvalidArgument"),
        ("PUT", OBJECT, {"partNumber": "1"}, "InvalidArgument"),
        ("PUT", OBJECT, {"uploadId": "u"}, "InvalidArgument"),
        ("PUT", BUCKET, {"versions": ""}, "NotImplemented"),
        ("GET", BUCKET, {"location": "", "session-x": "", "delete": ""}, "NotImplemented"),
        ("POST", OBJECT, {"partNumber": "1", "uploads": ""}, "InvalidArgument"),
    ],
)
def test_refused(method: str, level: Level, query: dict[str, str], code: str) -> None:
    with pytest.raises(S3Error) as error:
        ROUTER.find(method, level, query, {})
    assert error.value.code == code


def test_every_operation_of_s3_is_known() -> None:
    """The names of AWS's service model, as botocore ships it."""
    import botocore.session

    names = set(botocore.session.get_session().get_service_model("s3").operation_names)
    known = set(OPERATIONS) | set(ALIASES)
    assert names - known == set()
    assert known - names == {"PostObject"}
    assert all(target in OPERATIONS for target in ALIASES.values())


def test_every_operation_finds_itself() -> None:
    for op in OPERATIONS.values():
        query = dict(q.partition("=")[::2] for q in op.query)
        headers = {op.header: "x"} if op.header else {}
        assert ROUTER.find(op.method, op.level, query, headers) is op, op.name
