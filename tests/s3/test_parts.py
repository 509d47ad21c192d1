"""Parts: copied ones, single ones read by their number, listed uploads, completes that repeat."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.http.message import Request, Response
from holdfast.s3 import slow
from holdfast.s3.errors import S3Error
from holdfast.s3.ops import multipart

from .raw import Raw
from .test_copy import MULTIPART, put, source
from .test_integrity import DIGESTS, text
from .test_multipart import MIN, Upload, etag_of
from .test_objects import MIB, noise


def copy_part(
    raw: Raw, upload: Upload, number: int, headers: dict[str, str], bytes_range: str = ""
) -> Any:
    if bytes_range:
        headers = {**headers, "x-amz-copy-source-range": f"bytes={bytes_range}"}
    query = f"partNumber={number}&uploadId={upload.id}"
    return raw("PUT", upload.path, query, headers)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same bucket", "other bucket"])
@pytest.mark.parametrize("kind", [0, 1000, 300_000, MULTIPART])
def test_copied_parts(
    s3: Any, raw: Raw, new_bucket: Callable[[], str], kind: int | str, elsewhere: bool
) -> None:
    bucket = new_bucket()
    target = new_bucket() if elsewhere else bucket
    data, _ = put(s3, bucket, "source", kind)
    upload = Upload(raw, f"/{target}/k")
    first = noise(MIN, 9)
    etags = [upload.part(1, first).headers["etag"]]
    ranges = ["", *(["0-0", f"1-{len(data) - 1}"] if data else [])]
    if kind == MULTIPART:  # the first part exactly, the last, and across both
        ranges = [f"0-{5 * MIB - 1}", f"{5 * MIB}-{len(data) - 1}", f"7-{5 * MIB + 7}"]
    pieces = [first]
    for number, one in enumerate(ranges, 2):
        answer = copy_part(raw, upload, number, source(bucket, "source"), one)
        assert answer.status == 200, answer.body
        start, _, end = (one or f"0-{len(data) - 1}").partition("-")
        piece = data[int(start) : int(end) + 1]
        assert answer.text("ETag") == f'"{hashlib.md5(piece).hexdigest()}"'
        assert answer.text("ChecksumCRC64NVME") == text(DIGESTS["crc64nvme"](piece))
        etags.append(answer.text("ETag"))
        pieces.append(piece)
    # every part but the last must be large: complete with each alone behind the first
    for number in range(2, len(pieces) + 1):
        again = Upload(raw, f"/{target}/k{number}")
        first_etag = again.part(1, first).headers["etag"]
        answer = copy_part(raw, again, 2, source(bucket, "source"), ranges[number - 2])
        assert again.complete((1, first_etag), (2, answer.text("ETag"))).status == 200
        got = raw("GET", again.path, headers={"x-amz-checksum-mode": "ENABLED"})
        assert got.body == first + pieces[number - 1]
        assert got.headers["etag"] == etag_of(first, pieces[number - 1])
        assert got.headers["x-amz-checksum-crc64nvme"] == text(DIGESTS["crc64nvme"](got.body))
    # neither needs the other
    raw("DELETE", f"/{bucket}/source")
    assert raw("GET", f"/{target}/k2").body == first + pieces[1]


@pytest.mark.parametrize("name", DIGESTS)
def test_copied_parts_have_the_uploads_checksum(s3: Any, raw: Raw, bucket: str, name: str) -> None:
    data = noise(300_000)
    s3.put_object(Bucket=bucket, Key="source", Body=data, ChecksumAlgorithm="SHA1")
    upload = Upload(raw, f"/{bucket}/k", {"x-amz-checksum-algorithm": name.upper()})
    for one, piece in (("", data), ("5-99999", data[5:100_000])):
        answer = copy_part(raw, upload, 1, source(bucket, "source"), one)
        assert answer.text(f"Checksum{name.upper()}") == text(DIGESTS[name](piece))
        listed = raw("GET", upload.path, f"uploadId={upload.id}")
        assert listed.text(f"Part/Checksum{name.upper()}") == text(DIGESTS[name](piece))


@pytest.mark.parametrize(
    ("value", "status", "code"),
    [
        ("bytes=0-10", 416, "InvalidRange"),
        ("bytes=10-10", 416, "InvalidRange"),
        ("bytes=3-2", 400, "InvalidArgument"),
        ("bytes=0-", 400, "InvalidArgument"),
        ("bytes=-3", 400, "InvalidArgument"),
        ("0-3", 400, "InvalidArgument"),
        ("bytes=0-1,3-4", 400, "InvalidArgument"),
    ],
)
def test_ranges_that_are_none(raw: Raw, bucket: str, value: str, status: int, code: str) -> None:
    raw("PUT", f"/{bucket}/source", body=b"0123456789")
    upload = Upload(raw, f"/{bucket}/k")
    headers = {**source(bucket, "source"), "x-amz-copy-source-range": value}
    answer = copy_part(raw, upload, 1, headers)
    assert (answer.status, answer.code) == (status, code)


def test_sources_that_are_none(raw: Raw, bucket: str) -> None:
    etag = raw("PUT", f"/{bucket}/source", body=b"source").headers["etag"]
    upload = Upload(raw, f"/{bucket}/k")
    there = source(bucket, "source")
    for headers, code in (
        (source(bucket, "missing"), "NoSuchKey"),
        (source("missing-bucket", "k"), "NoSuchBucket"),
        ({**there, "x-amz-copy-source-if-none-match": etag}, "PreconditionFailed"),
        ({**there, "x-amz-copy-source-if-match": '"x"'}, "PreconditionFailed"),
        ({**there, "x-amz-metadata-directive": "REPLACE"}, "NotImplemented"),
    ):
        assert copy_part(raw, upload, 1, headers).code == code
    upload.abort()
    assert copy_part(raw, upload, 1, there).code == "NoSuchUpload"


def test_a_copy_of_nothing(raw: Raw, bucket: str) -> None:
    """The whole of an object whose only part is empty."""
    upload = Upload(raw, f"/{bucket}/empty")
    assert upload.complete((1, upload.part(1, b"").headers["etag"])).status == 200
    again = Upload(raw, f"/{bucket}/again")
    answer = copy_part(raw, again, 1, source(bucket, "empty"))
    assert answer.status == 200, answer.body
    assert again.complete((1, answer.text("ETag"))).status == 200
    assert raw("GET", f"/{bucket}/again").body == b""
    read = raw("GET", f"/{bucket}/again", "partNumber=1")
    assert (read.status, read.body) == (200, b"")


def test_reads_by_part_number(raw: Raw, bucket: str) -> None:
    path = f"/{bucket}/k"
    upload = Upload(raw, path)
    pieces = {1: noise(MIN, 1), 3: noise(MIN + 1, 2), 7: noise(10, 3)}
    etags = [(n, upload.part(n, data).headers["etag"]) for n, data in pieces.items()]
    whole = b"".join(pieces.values())
    assert upload.complete(*etags).status == 200
    offset = 0
    for number, piece in pieces.items():
        for method in ("GET", "HEAD"):
            headers = {"x-amz-checksum-mode": "ENABLED"}
            got = raw(method, path, f"partNumber={number}", headers)
            assert got.status == 206
            assert got.headers["content-length"] == str(len(piece))
            last = offset + len(piece) - 1
            assert got.headers["content-range"] == f"bytes {offset}-{last}/{len(whole)}"
            assert got.headers["x-amz-mp-parts-count"] == "3"
            assert got.headers["etag"] == etag_of(*pieces.values())
            assert got.headers["x-amz-checksum-crc64nvme"] == text(DIGESTS["crc64nvme"](piece))
        assert raw("GET", path, f"partNumber={number}").body == piece
        offset += len(piece)
    assert "x-amz-mp-parts-count" not in raw("GET", path).headers
    for wrong, status, code in (
        ("2", 416, "InvalidPartNumber"),
        ("8", 416, "InvalidPartNumber"),
        ("0", 400, "InvalidArgument"),
        ("10001", 400, "InvalidArgument"),
        ("x", 400, "InvalidArgument"),
    ):
        answer = raw("GET", path, f"partNumber={wrong}")
        assert (answer.status, answer.code) == (status, code)
    answer = raw("GET", path, "partNumber=1", {"range": "bytes=0-1"})
    assert (answer.status, answer.code) == (400, "InvalidRequest")


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_the_only_part_of_a_plain_object(raw: Raw, bucket: str, size: int) -> None:
    data = noise(size)
    raw("PUT", f"/{bucket}/k", body=data)
    got = raw("GET", f"/{bucket}/k", "partNumber=1")
    assert (got.status, got.body) == (206 if size else 200, data)
    assert "x-amz-mp-parts-count" not in got.headers
    assert raw("GET", f"/{bucket}/k", "partNumber=2").code == "InvalidPartNumber"


def test_parts_with_checksums_are_numbered_without_gaps(raw: Raw, bucket: str) -> None:
    upload = Upload(raw, f"/{bucket}/k", {"x-amz-checksum-algorithm": "CRC32"})
    etags = {n: upload.part(n, noise(MIN, n)).headers["etag"] for n in (1, 2, 3)}
    for numbers in ((2,), (1, 3), (2, 3)):
        answer = upload.complete(*((n, etags[n]) for n in numbers))
        assert (answer.status, answer.code) == (400, "InvalidPartOrder")
    assert upload.complete((1, etags[1]), (2, etags[2])).status == 200


def test_a_repeated_complete(raw: Raw, bucket: str) -> None:
    upload = Upload(raw, f"/{bucket}/k")
    etag = upload.part(1, b"x").headers["etag"]
    first = upload.complete((1, etag), headers={"if-none-match": "*"})
    again = upload.complete((1, etag), headers={"if-none-match": "*"})
    assert (again.status, again.body) == (200, first.body)
    assert upload.complete((2, etag)).code == "NoSuchUpload"
    assert upload.complete((1, '"other"')).code == "NoSuchUpload"
    raw("PUT", f"/{bucket}/k", body=b"newer")
    assert upload.complete((1, etag)).code == "NoSuchUpload"
    assert raw("GET", f"/{bucket}/k").body == b"newer"


class Gate:
    """Work that ends when the test says so."""

    def __init__(self, outcome: Response | Exception) -> None:
        self.open = asyncio.Event()
        self.outcome = outcome

    async def work(self) -> Response:
        await self.open.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


REQUEST = Request("POST", "/b/k", "", {}, None, id="0123456789ABCDEF")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcome", "end"),
    [
        (Response(200, [], b'<?xml version="1.0" encoding="UTF-8"?>\n<Done/>'), b"<Done/>"),
        (S3Error("InvalidPart"), b"<Code>InvalidPart</Code>"),
        (OSError("disk"), b"<Code>InternalError</Code>"),
    ],
    ids=["done", "refused", "fault"],
)
def test_slow_work_keeps_the_connection(
    monkeypatch: pytest.MonkeyPatch, outcome: Response | Exception, end: bytes
) -> None:
    monkeypatch.setattr(slow, "PATIENCE_SECONDS", 0.001)

    async def scenario() -> bytes:
        gate = Gate(outcome)
        response = await slow.answer_in_time(REQUEST, gate.work())
        assert response.status == 200
        body = response.body
        assert not isinstance(body, bytes)
        pieces = []
        async for piece in body:  # type: ignore[union-attr]
            pieces.append(piece)
            if len(pieces) == 3:
                assert pieces[0].startswith(b"<?xml")
                assert pieces[1:] == [b" ", b" "]
                gate.open.set()
        return b"".join(pieces)

    whole = asyncio.run(scenario())
    assert whole.count(b"<?xml") == 1
    assert end in whole


def test_a_slow_complete(monkeypatch: pytest.MonkeyPatch, raw: Raw, bucket: str) -> None:
    """The store takes longer than the client's patience, and the client still gets its answer."""
    complete = multipart._complete

    async def late(*arguments: Any) -> Response:
        await asyncio.sleep(0.05)
        return await complete(*arguments)

    monkeypatch.setattr(multipart, "_complete", late)
    monkeypatch.setattr(slow, "PATIENCE_SECONDS", 0.001)
    upload = Upload(raw, f"/{bucket}/k")
    etag = upload.part(1, b"x").headers["etag"]
    answer = upload.complete((1, '"other"'))
    assert (answer.status, answer.text("Code")) == (200, "InvalidPart")
    answer = upload.complete((1, etag))
    assert (answer.status, answer.xml.tag) == (200, "CompleteMultipartUploadResult")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert raw("GET", f"/{bucket}/k").body == b"x"


def test_completes_at_the_same_time(s3: Any, raw: Raw, bucket: str) -> None:
    """One of them makes the object; all of them answer with it."""
    upload = Upload(raw, f"/{bucket}/k")
    etag = upload.part(1, b"x").headers["etag"]
    arguments = {"Bucket": bucket, "Key": "k", "UploadId": upload.id}
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    answers: list[str] = []

    def complete() -> None:
        done = s3.complete_multipart_upload(**arguments, MultipartUpload=parts)
        answers.append(done["ETag"])

    threads = [threading.Thread(target=complete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [etag_of(b"x")] * 8


def test_listed_uploads(s3: Any, raw: Raw, bucket: str) -> None:
    keys = ["a", "d/1", "d/1", "d/2", "ä "]
    made = [(key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]) for key in keys]
    found: list[tuple[str, str]] = []
    markers: dict[str, str] = {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=2, **markers)
        found += [(one["Key"], one["UploadId"]) for one in page["Uploads"]]
        if not page["IsTruncated"]:
            break
        markers = {
            "KeyMarker": page["NextKeyMarker"],
            "UploadIdMarker": page["NextUploadIdMarker"],
        }
    assert found == made
    page = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [one["Key"] for one in page["Uploads"]] == ["a", "ä "]
    assert [one["Prefix"] for one in page["CommonPrefixes"]] == ["d/"]
    page = s3.list_multipart_uploads(Bucket=bucket, Prefix="d/1", KeyMarker="a")
    assert [one["Key"] for one in page["Uploads"]] == ["d/1", "d/1"]
    row = page["Uploads"][0]
    assert row["Owner"]["ID"] == row["Initiator"]["ID"]
    assert (row["StorageClass"], bool(row["Initiated"])) == ("STANDARD", True)
    answer = raw("GET", f"/{bucket}", "uploads&encoding-type=url&prefix=%C3%A4")
    assert answer.text("Upload/Key") == "%C3%A4%20"
    answer = raw("GET", f"/{bucket}", "uploads&key-marker=a&upload-id-marker=x")
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    for key, upload_id in made:
        s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
