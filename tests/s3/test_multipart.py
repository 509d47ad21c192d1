"""Multipart uploads in their plain form: parts in any order, one object at the end."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from holdfast.s3 import xml
from holdfast.s3.ops import multipart

from .raw import STREAMING_UNSIGNED_TRAILER, Answer, Raw
from .test_integrity import DIGESTS, checksum, text
from .test_objects import MIB, noise

MIN = 5 * MIB
FULL = {"crc32": ["COMPOSITE", "FULL_OBJECT"], "crc32c": ["COMPOSITE", "FULL_OBJECT"]}
FULL |= {"crc64nvme": ["FULL_OBJECT"], "sha1": ["COMPOSITE"], "sha256": ["COMPOSITE"]}
FULL |= {name: ["COMPOSITE"] for name in ("sha512", "md5", "xxhash64", "xxhash3", "xxhash128")}
TYPES = [(name, kind) for name, kinds in FULL.items() for kind in kinds]


class Upload:
    """An upload in progress, over the raw client."""

    def __init__(self, raw: Raw, path: str, headers: dict[str, str] | None = None) -> None:
        self.raw = raw
        self.path = path
        answer = raw("POST", path, "uploads", headers)
        assert answer.status == 200, answer.body
        self.headers = answer.headers
        self.id = answer.text("UploadId")

    def part(self, number: int, data: bytes, headers: dict[str, str] | None = None) -> Answer:
        query = f"partNumber={number}&uploadId={self.id}"
        return self.raw("PUT", self.path, query, headers, data)

    def complete(
        self,
        *parts: tuple[int, str],
        headers: dict[str, str] | None = None,
        more: str = "",
    ) -> Answer:
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{more}</Part>"
            for number, etag in parts
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        return self.raw("POST", self.path, f"uploadId={self.id}", headers, body)

    def abort(self) -> Answer:
        return self.raw("DELETE", self.path, f"uploadId={self.id}")


@pytest.fixture
def path(bucket: str) -> str:
    return f"/{bucket}/dir/k%20%C3%A4"


def etag_of(*parts: bytes) -> str:
    digest = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    return f'"{digest}-{len(parts)}"'


def test_there_and_back(raw: Raw, bucket: str, path: str) -> None:
    """Out of order, one sent again, one not named; metadata from the beginning."""
    headers = {"x-amz-meta-a": "1", "content-type": "text/x", "x-amz-storage-class": "STANDARD_IA"}
    upload = Upload(raw, path, headers)
    parts = {3: noise(MIN, 3), 7: noise(1234, 7), 1: noise(MIN + 1, 1), 2: b"dropped"}
    etags = {n: upload.part(n, data).headers["etag"] for n, data in parts.items()}
    parts[3] = noise(MIN + 7, 33)
    etags[3] = upload.part(3, parts[3]).headers["etag"]
    assert raw("GET", path).code == "NoSuchKey", "nothing is visible before the end"
    assert raw("GET", f"/{bucket}").texts("Contents/Key") == []
    answer = upload.complete(*((n, etags[n]) for n in (1, 3, 7)))
    assert answer.status == 200, answer.body
    whole = parts[1] + parts[3] + parts[7]
    etag = etag_of(parts[1], parts[3], parts[7])
    assert answer.text("ETag") == etag
    assert (answer.text("Bucket"), answer.text("Key")) == (bucket, "dir/k ä")
    assert answer.text("Location") == f"{raw.endpoint}{path}"
    got = raw("GET", path)
    assert got.body == whole
    assert (got.headers["etag"], got.headers["x-amz-meta-a"]) == (etag, "1")
    assert got.headers["content-type"] == "text/x"
    assert got.headers["x-amz-storage-class"] == "STANDARD_IA"
    head = raw("HEAD", path)
    assert head.headers["content-length"] == str(len(whole))
    listed = raw("GET", f"/{bucket}")
    assert listed.text("Contents/ETag") == etag
    assert listed.text("Contents/Size") == str(len(whole))
    assert upload.part(1, b"x").code == "NoSuchUpload"
    assert raw("DELETE", path).status == 204
    assert raw("GET", path).code == "NoSuchKey"


@pytest.mark.parametrize(
    "text",
    [
        f"bytes={MIN - 1}-{MIN}",
        f"bytes={MIN - 3}-{2 * MIN + 3}",
        f"bytes=0-{MIN - 1}",
        f"bytes={MIN}-{2 * MIN - 1}",
        f"bytes={2 * MIN}-",
        "bytes=-1",
        f"bytes=-{MIN + 1001}",
        "bytes=1-",
    ],
)
def test_ranges_across_parts(raw: Raw, s3: Any, ranged: tuple[str, bytes], text: str) -> None:
    path, whole = ranged
    answer = raw("GET", path, headers={"range": text})
    first, last = (
        int(n) for n in answer.headers["content-range"].split()[1].split("/")[0].split("-")
    )
    assert answer.status == 206
    assert answer.body == whole[first : last + 1]
    start, _, end = text.removeprefix("bytes=").partition("-")
    assert first == (int(start) if start else len(whole) - int(end))
    assert last == (int(end) if start and end else len(whole) - 1)


@pytest.fixture(scope="module")
def ranged(raw: Raw, new_bucket: Any) -> tuple[str, bytes]:
    path = f"/{new_bucket()}/k"
    upload = Upload(raw, path)
    parts = [noise(MIN, 1), noise(MIN, 2), noise(1000, 3)]
    etags = [upload.part(n, part).headers["etag"] for n, part in enumerate(parts, 1)]
    assert upload.complete(*enumerate(etags, 1)).status == 200
    return path, b"".join(parts)


def test_boto3_transfers(s3: Any, bucket: str, tmp_path: Any) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(noise(20 * MIB + 1))
    s3.upload_file(str(source), bucket, "k")
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"].endswith('-3"')
    s3.download_file(bucket, "k", str(back))
    assert back.read_bytes() == source.read_bytes()


def test_one_small_part(raw: Raw, path: str) -> None:
    for size in (0, 1, 1000):
        upload = Upload(raw, path)
        etag = upload.part(1, noise(size)).headers["etag"]
        assert upload.complete((1, etag.strip('"'))).text("ETag") == etag_of(noise(size))
        assert raw("GET", path).body == noise(size)


def test_too_small(raw: Raw, path: str) -> None:
    upload = Upload(raw, path)
    small = upload.part(1, noise(MIN - 1)).headers["etag"]
    last = upload.part(2, b"x").headers["etag"]
    answer = upload.complete((1, small), (2, last))
    assert (answer.status, answer.code) == (400, "EntityTooSmall")
    assert answer.text("PartNumber") == "1"
    assert raw("GET", path).code == "NoSuchKey"
    assert upload.complete((2, last)).status == 200, "the upload is still there"


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ([2, 1], "InvalidPartOrder"),
        ([1, 1], "InvalidPartOrder"),
        ([1, 3], "InvalidPart"),
        ([], "MalformedXML"),
        ([0], "InvalidArgument"),
        ([10001], "InvalidArgument"),
    ],
)
def test_wrong_lists(raw: Raw, path: str, numbers: list[int], code: str) -> None:
    upload = Upload(raw, path)
    etag = upload.part(1, b"x").headers["etag"]
    upload.part(2, b"x")
    answer = upload.complete(*((number, etag) for number in numbers))
    assert (answer.status, answer.code) == (400, code)
    assert raw("GET", path).code == "NoSuchKey"
    assert upload.abort().status == 204


def test_wrong_etags(raw: Raw, path: str) -> None:
    upload = Upload(raw, path)
    etag = upload.part(1, b"x").headers["etag"]
    again = upload.part(1, b"y").headers["etag"]
    for wrong in (etag, "0" * 32, ""):
        answer = upload.complete((1, wrong))
        assert (answer.status, answer.code) == (400, "InvalidPart")
    wrong_sum = f"<ChecksumCRC64NVME>{text(DIGESTS['crc64nvme'](b'z'))}</ChecksumCRC64NVME>"
    assert upload.complete((1, again), more=wrong_sum).code == "InvalidPart"
    assert upload.complete((1, again)).status == 200
    assert raw("GET", path).body == b"y"


@pytest.mark.parametrize(
    "body",
    [
        b"<CompleteMultipartUpload>",
        b"<Complete/>",
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part>"
        b"</CompleteMultipartUpload>",
        b"<CompleteMultipartUpload><Part><PartNumber>one</PartNumber><ETag>x</ETag></Part>"
        b"</CompleteMultipartUpload>",
        b'<!DOCTYPE x [<!ENTITY a "1">]><CompleteMultipartUpload/>',
    ],
)
def test_malformed_lists(raw: Raw, path: str, body: bytes) -> None:
    upload = Upload(raw, path)
    upload.part(1, b"x")
    answer = raw("POST", path, f"uploadId={upload.id}", body=body)
    assert (answer.status, answer.code) == (400, "MalformedXML")


def test_a_long_list_is_read_and_decided_beside_the_loop(
    raw: Raw, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, list[str]] = {"_named_parts": [], "_complete_command": []}

    def watch(name: str, inner: Callable[..., Any]) -> None:
        def watched(*arguments: Any) -> Any:
            threads[name].append(threading.current_thread().name)
            return inner(*arguments)

        monkeypatch.setattr(multipart, name, watched)

    for name in threads:
        watch(name, getattr(multipart, name))
    upload = Upload(raw, path)
    etag = upload.part(1, b"x").headers["etag"]
    assert upload.complete((2, etag)).code == "InvalidPart"
    monkeypatch.setattr(xml, "XML_BODY_BYTES_MAX", 10)
    monkeypatch.setattr(multipart, "DECIDE_PARTS_MAX", 0)
    assert upload.complete((2, etag), (1, etag)).code == "InvalidPartOrder"
    assert upload.complete((2, etag)).code == "InvalidPart"
    assert upload.complete((1, etag)).status == 200
    assert raw("GET", path).body == b"x"
    for first, *others in threads.values():
        assert others
        assert first not in others


@pytest.mark.parametrize(
    "number", ["0", "10001", "-1", "x", "", "1.5", "0000000019999", "%C2%B2", "9" * 5000]
)
def test_part_numbers(raw: Raw, path: str, number: str) -> None:
    upload = Upload(raw, path)
    answer = raw("PUT", path, f"partNumber={number}&uploadId={upload.id}", body=b"x")
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert raw("GET", path, f"uploadId={upload.id}").texts("Part") == []


def test_unknown_uploads(raw: Raw, bucket: str, path: str) -> None:
    upload = Upload(raw, path)
    forged = upload.id[:-1] + ("0" if upload.id[-1] != "0" else "g")
    for upload_id in ("x", forged, upload.id.upper(), "", "%C3%A4", "0" * 26, "a" * 5000):
        for method, query in (
            ("PUT", f"partNumber=1&uploadId={upload_id}"),
            ("GET", f"uploadId={upload_id}"),
            ("DELETE", f"uploadId={upload_id}"),
        ):
            answer = raw(method, path, query)
            assert (answer.status, answer.code) == (404, "NoSuchUpload"), (method, upload_id)
    other_key = raw("PUT", f"/{bucket}/other", f"partNumber=1&uploadId={upload.id}", body=b"x")
    assert other_key.code == "NoSuchUpload"
    assert upload.part(1, b"x").status == 200


def test_abort(raw: Raw, bucket: str, path: str) -> None:
    raw("PUT", path, body=b"kept")
    upload = Upload(raw, path)
    etag = upload.part(1, noise(MIN)).headers["etag"]
    answer = upload.abort()
    assert (answer.status, answer.body) == (204, b"")
    for again in (upload.abort(), upload.part(2, b"x"), upload.complete((1, etag))):
        assert (again.status, again.code) == (404, "NoSuchUpload")
    assert raw("GET", path).body == b"kept"


def test_a_bucket_takes_its_uploads_with_it(raw: Raw, bucket: str, path: str) -> None:
    """S3 asks only for the objects of a general purpose bucket to be deleted first."""
    raw("PUT", f"/{bucket}/object", body=b"x")
    uploads = [Upload(raw, path), Upload(raw, f"/{bucket}/other")]
    etag = uploads[0].part(1, b"kept").headers["etag"]
    assert raw("DELETE", f"/{bucket}").code == "BucketNotEmpty"
    assert raw("GET", f"/{bucket}", "uploads").texts("Upload/UploadId") == [
        upload.id for upload in uploads
    ]
    assert uploads[0].complete((1, etag)).status == 200
    for key in ("dir/k%20%C3%A4", "object"):
        raw("DELETE", f"/{bucket}/{key}")
    assert raw("DELETE", f"/{bucket}").status == 204
    assert raw("GET", f"/{bucket}").code == "NoSuchBucket"


def test_list_parts(s3: Any, raw: Raw, bucket: str, path: str) -> None:
    upload = Upload(raw, path, {"x-amz-storage-class": "STANDARD_IA"})
    etags = {n: upload.part(n, noise(n)).headers["etag"] for n in (9, 1, 5, 10_000, 3)}
    name = {"Bucket": bucket, "Key": "dir/k ä", "UploadId": upload.id}
    pages = list(s3.get_paginator("list_parts").paginate(**name, PaginationConfig={"PageSize": 2}))
    assert [len(page["Parts"]) for page in pages] == [2, 2, 1]
    parts = [part for page in pages for part in page["Parts"]]
    assert [part["PartNumber"] for part in parts] == sorted(etags)
    assert [part["Size"] for part in parts] == sorted(etags)
    assert all(part["ETag"] == etags[part["PartNumber"]] for part in parts)
    assert pages[0]["StorageClass"] == "STANDARD_IA"
    assert len(pages[0]["Initiator"]["ID"]) == 64
    nothing = raw("GET", path, f"uploadId={upload.id}&max-parts=0")
    assert (nothing.texts("Part"), nothing.text("MaxParts")) == ([], "0")
    behind = raw("GET", path, f"uploadId={upload.id}&part-number-marker=10000")
    assert (behind.texts("Part"), behind.text("IsTruncated")) == ([], "false")
    for wrong in ("max-parts=-1", "max-parts=x", "part-number-marker=x", "max-parts=9999999999"):
        assert raw("GET", path, f"uploadId={upload.id}&{wrong}").code == "InvalidArgument"


# --- checksums -------------------------------------------------------------------------------


def whole_checksum(name: str, kind: str, parts: list[bytes]) -> str:
    if kind == "FULL_OBJECT":
        return text(DIGESTS[name](b"".join(parts)))
    return f"{text(DIGESTS[name](b''.join(DIGESTS[name](p) for p in parts)))}-{len(parts)}"


@pytest.mark.parametrize(("name", "kind"), TYPES)
def test_checksums(raw: Raw, bucket: str, path: str, name: str, kind: str) -> None:
    upper, header = name.upper(), f"x-amz-checksum-{name}"
    start = {"x-amz-checksum-algorithm": upper, "x-amz-checksum-type": kind}
    upload = Upload(raw, path, start)
    assert upload.headers["x-amz-checksum-algorithm"] == upper
    assert upload.headers["x-amz-checksum-type"] == kind
    parts = [noise(MIN, 1), noise(1000, 2)]
    wrong = upload.part(1, parts[0], checksum(name, b"other"))
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    etags = []
    for number, data in enumerate(parts, 1):
        # the second one promises nothing: the upload's algorithm is computed all the same
        answer = upload.part(number, data, checksum(name, data) if number == 1 else {})
        assert answer.headers[header] == text(DIGESTS[name](data))
        etags.append(answer.headers["etag"])
    listed = raw("GET", path, f"uploadId={upload.id}")
    assert listed.texts(f"Part/Checksum{upper}") == [text(DIGESTS[name](d)) for d in parts]
    assert (listed.text("ChecksumAlgorithm"), listed.text("ChecksumType")) == (upper, kind)
    other = next(n for n in DIGESTS if n != name)
    assert upload.part(2, parts[1], checksum(other, parts[1])).code == "InvalidRequest"

    expected = whole_checksum(name, kind, parts)
    bad = {header: whole_checksum(name, kind, [b"a", b"b"])}
    assert upload.complete(*enumerate(etags, 1), headers=bad).code == "BadDigest"
    assert raw("GET", path).code == "NoSuchKey"
    assert upload.complete(*enumerate(etags, 1), headers={"x-amz-mp-object-size": "5"}).code == (
        "InvalidRequest"
    )
    good = {header: expected, "x-amz-checksum-type": kind}
    good["x-amz-mp-object-size"] = str(sum(map(len, parts)))
    answer = upload.complete(*enumerate(etags, 1), headers=good)
    assert answer.status == 200, answer.body
    assert (answer.text(f"Checksum{upper}"), answer.text("ChecksumType")) == (expected, kind)
    got = raw("HEAD", path, headers={"x-amz-checksum-mode": "ENABLED"}).headers
    assert (got[header], got["x-amz-checksum-type"]) == (expected, kind)
    entry = raw("GET", f"/{bucket}")
    assert entry.text("Contents/ChecksumAlgorithm") == upper
    assert entry.text("Contents/ChecksumType") == kind


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-algorithm": "CRC7"},
        {"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"},
        {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "HALF"},
        {"x-amz-checksum-type": "COMPOSITE"},
    ],
    ids=str,
)
def test_checksums_that_do_not_exist(raw: Raw, path: str, headers: dict[str, str]) -> None:
    answer = raw("POST", path, "uploads", headers)
    assert (answer.status, answer.code) == (400, "InvalidRequest")


def test_another_type_at_the_end(raw: Raw, path: str) -> None:
    upload = Upload(raw, path, {"x-amz-checksum-algorithm": "CRC32"})
    etag = upload.part(1, b"x").headers["etag"]
    answer = upload.complete((1, etag), headers={"x-amz-checksum-type": "FULL_OBJECT"})
    assert (answer.status, answer.code) == (400, "BadDigest")


def test_a_part_in_chunks(raw: Raw, path: str) -> None:
    upload = Upload(raw, path)
    query = f"partNumber=1&uploadId={upload.id}"
    data = noise(100_000)
    for content, status in ((data + b"x", 400), (data, 200)):
        answer = raw.chunked(
            path,
            data,
            STREAMING_UNSIGNED_TRAILER,
            query=query,
            trailers=checksum("crc32", content),
        )
        assert answer.status == status
    assert upload.complete((1, answer.headers["etag"])).status == 200
    assert raw("GET", path).body == data


def test_content_md5_of_a_part(raw: Raw, path: str) -> None:
    upload = Upload(raw, path)
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    assert upload.part(1, b"x", {"content-md5": wrong}).code == "BadDigest"
    assert raw("GET", path, f"uploadId={upload.id}").texts("Part") == []


# --- conditions --------------------------------------------------------------------------------


def test_conditions_at_the_end(raw: Raw, path: str) -> None:
    kept = raw("PUT", path, body=b"kept").headers["etag"]
    upload = Upload(raw, path)
    etag = upload.part(1, b"new").headers["etag"]
    for headers, code in (
        ({"if-none-match": "*"}, "PreconditionFailed"),
        ({"if-match": '"other"'}, "PreconditionFailed"),
        ({"if-match": ""}, "InvalidArgument"),
        ({"if-none-match": kept}, "PreconditionFailed"),
        ({"if-none-match": '""'}, "InvalidArgument"),
        ({"if-match": kept, "if-none-match": "x"}, "NotImplemented"),
        ({"if-unmodified-since": "Thu, 01 Jan 1970 00:00:00 GMT"}, "NotImplemented"),
    ):
        assert upload.complete((1, etag), headers=headers).code == code
        assert raw("GET", path).body == b"kept"
    assert upload.complete((1, etag), headers={"if-match": kept}).status == 200
    assert raw("GET", path).body == b"new"


def test_boto3_checks_composite_sums(s3: Any, bucket: str) -> None:
    name = {"Bucket": bucket, "Key": "k"}
    name["UploadId"] = s3.create_multipart_upload(**name, ChecksumAlgorithm="SHA256")["UploadId"]
    parts = []
    for number in (1, 2):
        done = s3.upload_part(
            **name, PartNumber=number, Body=noise(MIN, number), ChecksumAlgorithm="SHA256"
        )
        sums = {key: done[key] for key in ("ETag", "ChecksumSHA256")}
        parts.append({"PartNumber": number, **sums})
    swapped = [{**parts[0], "ChecksumSHA256": parts[1]["ChecksumSHA256"]}, parts[1]]
    with pytest.raises(ClientError, match="InvalidPart"):
        s3.complete_multipart_upload(**name, MultipartUpload={"Parts": swapped})
    done = s3.complete_multipart_upload(**name, MultipartUpload={"Parts": parts})
    assert done["ChecksumSHA256"].endswith("-2")
