"""What everybody does: put, get, list, copy, delete; on both faces."""

from __future__ import annotations

import io
import os
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.client import (
    AccessDenied,
    BucketNotEmpty,
    InvalidRange,
    InvalidRequest,
    NoSuchBucket,
    NoSuchKey,
    NotModified,
    PreconditionFailed,
)

from .conftest import PART, Connect

DATA = b"0123456789" * 1000


def _pieces() -> Iterator[bytes]:
    for start in range(0, len(DATA), 333):
        yield DATA[start : start + 333]


async def _async_pieces() -> AsyncIterator[bytes]:
    for piece in _pieces():
        yield piece


def test_every_kind_of_body(store: Any, bucket: str, face: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    bodies: list[Any] = [
        DATA,
        bytearray(DATA),
        memoryview(DATA),
        DATA.decode(),
        path,
        io.BytesIO(DATA),
        _pieces(),
        list(_pieces()),
        _async_pieces(),  # the synchronous store takes one, too, if it waits for nothing
    ]
    for number, body in enumerate(bodies):
        result = store.put_object(bucket, f"k{number}", body)
        assert result.size == len(DATA)
        assert result.checksum.startswith("CRC64NVME:")
        with store.get_object(bucket, f"k{number}") as stream:
            assert stream.info.etag == result.etag
            assert stream.read() == DATA
            assert stream.verified == "CRC64NVME"
    with path.open("rb") as file:
        file.seek(10)
        assert store.put_object(bucket, "rest", file).size == len(DATA) - 10
    with pytest.raises(TypeError, match="no body"):
        store.put_object(bucket, "k", 5)
    assert store.put_object(bucket, "empty", b"").size == 0
    assert store.get_object(bucket, "empty").read() == b""


def test_a_size_that_was_promised_is_held(store: Any, bucket: str) -> None:
    for size in (len(DATA) - 1, len(DATA) + 1):
        with pytest.raises(InvalidRequest, match="promised"):
            store.put_object(bucket, "k", _pieces(), size=size)
    assert not store.exists(bucket, "k")


def test_reading_by_ranges(store: Any, bucket: str) -> None:
    store.put_object(bucket, "k", DATA)
    assert store.get_object(bucket, "k", range=(10, 20)).read() == DATA[10:20]
    assert store.get_object(bucket, "k", range=slice(9990, None)).read() == DATA[9990:]
    assert store.get_object(bucket, "k", range=(-5, None)).read() == DATA[-5:]
    with pytest.raises(InvalidRange):
        store.get_object(bucket, "k", range=(len(DATA), None))
    with pytest.raises(InvalidRequest):
        store.get_object(bucket, "k", range=(5, 5))
    with store.get_object(bucket, "k", range=(100, 200)) as stream:
        assert (stream.size, stream.info.size) == (100, len(DATA))
        assert stream.seek(-10, os.SEEK_END) == 90
        assert stream.read(5) == DATA[190:195]
        stream.seek(0)
        assert stream.read(3) == DATA[100:103]
        assert stream.tell() == 3
        stream.seek(2, os.SEEK_CUR)
        assert stream.read() == DATA[105:200]
        stream.seek(500)
        assert stream.read() == b""
    with store.get_object(bucket, "k") as stream:
        assert b"".join(stream) == DATA


def test_a_stream_never_mixes_versions(store: Any, bucket: str) -> None:
    store.put_object(bucket, "k", DATA)
    with store.get_object(bucket, "k") as stream:
        store.put_object(bucket, "k", b"x" * len(DATA))
        stream.seek(5)
        with pytest.raises(PreconditionFailed):
            stream.read()


def test_what_is_said_with_an_object(store: Any, bucket: str) -> None:
    moment = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    store.put_object(
        bucket,
        "k",
        DATA,
        metadata={"Colour": "grün", "plain": "a b"},
        tags={"a+b": "c=d ü"},
        content_type="text/plain",
        cache_control="no-cache",
        content_disposition="inline",
        content_language="de",
        expires=moment,
        storage_class="STANDARD_IA",
    )
    info = store.head_object(bucket, "k")
    assert info.metadata == {"colour": "grün", "plain": "a b"}
    assert (info.content_type, info.storage_class) == ("text/plain", "STANDARD_IA")
    assert info.headers["cache-control"] == "no-cache"
    assert info.headers["expires"] == "Wed, 02 Jan 2030 03:04:05 GMT"
    assert info.last_modified is not None
    assert info.tag_count in (0, 1)
    assert store.get_tags(bucket, "k") == {"a+b": "c=d ü"}
    store.set_tags(bucket, "k", {"x": "y: @z"})
    assert store.get_tags(bucket, "k") == {"x": "y: @z"}
    store.delete_tags(bucket, "k")
    assert store.get_tags(bucket, "k") == {}
    with pytest.raises(TypeError, match="unknown option"):
        store.put_object(bucket, "k", b"", colour="red")
    for headers in ({"x-amz-meta-a": "b\r\nx-amz-acl: public-read"}, {"a:b": "c"}, {"é": "c"}):
        with pytest.raises(InvalidRequest):
            store.put_object(bucket, "k2", b"", headers=headers)


def test_conditions(store: Any, bucket: str) -> None:
    first = store.put_object(bucket, "k", b"1", if_none_match="*")
    with pytest.raises(PreconditionFailed) as refused:
        store.put_object(bucket, "k", b"2", if_none_match="*")
    assert refused.value.status == 412
    assert refused.value.request_id
    second = store.put_object(bucket, "k", b"2", if_match=first.etag)
    with pytest.raises(PreconditionFailed):
        store.put_object(bucket, "k", b"3", if_match=first.etag)
    with pytest.raises(NotModified):
        store.get_object(bucket, "k", if_none_match=second.etag)
    with pytest.raises(PreconditionFailed):
        store.head_object(bucket, "k", if_unmodified_since=datetime.now(UTC) - timedelta(days=1))
    assert store.head_object(bucket, "k", if_modified_since=datetime.now(UTC) - timedelta(days=1))
    with pytest.raises(PreconditionFailed):
        store.delete_object(bucket, "k", if_match=first.etag)
    store.delete_object(bucket, "k", if_match=second.etag)
    assert not store.exists(bucket, "k")
    with pytest.raises(InvalidRequest, match="zone"):
        store.head_object(bucket, "k", if_modified_since=datetime(2020, 1, 1))


def test_keys_of_every_kind_come_back(store: Any, bucket: str) -> None:
    keys = ["a b", "a+b", "%41", "ü/ß", "..", "/x", "x//y", "<&>\"'", "\x01\n", "q?a=b#c", "日本"]
    for key in keys:
        store.put_object(bucket, key, key)
        assert store.get_object(bucket, key).read().decode() == key
        assert store.exists(bucket, key)
    listed = [entry.key for entry in store.list_objects(bucket)]
    assert listed == sorted(keys, key=str.encode)
    store.copy_object(bucket, "ü/ß", bucket, "copy of %")
    assert not store.delete_many(bucket, [*keys, "copy of %"]).errors
    assert list(store.list_objects(bucket)) == []


def test_listings_are_lazy_and_go_on(store: Any, bucket: str) -> None:
    names = [f"d{n % 10}/{n:04}" for n in range(1100)]
    report = store.put_many(bucket, [(name, b"x") for name in names])
    assert (report.done, report.bytes, report.errors) == (1100, 1100, [])
    assert [entry.key for entry in store.list_objects(bucket)] == sorted(names)
    assert [e.key for e in store.list_objects(bucket, "d3/", limit=1)] == ["d3/0003"]
    top = list(store.list_objects(bucket, delimiter="/"))
    assert [entry.key for entry in top] == [f"d{n}/" for n in range(10)]
    assert all(entry.is_prefix for entry in top)
    after = store.list_objects(bucket, start_after="d9/1089")
    assert [entry.key for entry in after] == ["d9/1099"]
    assert len(list(store.list_objects(bucket, limit=1050))) == 1050
    assert store.delete_many(bucket, list(store.list_objects(bucket))).deleted == 1100


def test_versions(store: Any, bucket: str) -> None:
    store.set_versioning(bucket, True)
    assert store.get_versioning(bucket) == "Enabled"
    first = store.put_object(bucket, "k", b"1")
    second = store.put_object(bucket, "k", b"2")
    gone = store.delete_object(bucket, "k")
    assert gone.delete_marker
    assert not store.exists(bucket, "k")
    assert store.get_object(bucket, "k", version_id=first.version_id).read() == b"1"
    found = list(store.list_versions(bucket))
    assert [entry.version_id for entry in found] == [
        gone.version_id,
        second.version_id,
        first.version_id,
    ]
    assert [entry.is_delete_marker for entry in found] == [True, False, False]
    assert found[0].is_latest
    copy = store.copy_object(bucket, "k", bucket, "k", version_id=first.version_id)
    assert store.head_object(bucket, "k").version_id == copy.version_id
    with pytest.raises(BucketNotEmpty, match="force=True"):
        store.delete_bucket(bucket)
    store.delete_bucket(bucket, force=True)
    assert not store.bucket_exists(bucket)


def test_buckets(store: Any, connected: Connect) -> None:
    store.create_bucket("made-here", versioning=True)
    store.create_bucket("made-here", exist_ok=True)
    assert store.get_versioning("made-here") == "Enabled"
    assert store.bucket_region("made-here") == "us-east-1"
    assert "made-here" in [found.name for found in store.list_buckets("made-")]
    assert all(found.created is not None for found in store.list_buckets())
    store.delete_bucket("made-here")
    assert not store.bucket_exists("made-here")
    with pytest.raises(NoSuchBucket, match="create_bucket"):
        list(store.list_objects("made-here"))


def test_copy_keeps_what_is_not_said(store: Any, bucket: str) -> None:
    store.put_object(
        bucket, "a", DATA, metadata={"m": "ü"}, content_type="text/css", tags={"t": "1"}
    )
    store.copy_object(bucket, "a", bucket, "b")
    info = store.head_object(bucket, "b")
    assert (info.metadata, info.content_type) == ({"m": "ü"}, "text/css")
    assert store.get_tags(bucket, "b") == {"t": "1"}
    store.copy_object(bucket, "a", bucket, "c", content_type="text/html", tags={"t": "2"})
    info = store.head_object(bucket, "c")
    assert (info.metadata, info.content_type) == ({"m": "ü"}, "text/html")
    assert store.get_tags(bucket, "c") == {"t": "2"}
    store.copy_object(bucket, "a", bucket, "d", metadata={"n": "v"})
    info = store.head_object(bucket, "d")
    assert (info.metadata, info.content_type) == ({"n": "v"}, "text/css")
    store.move_object(bucket, "d", bucket, "e")
    assert not store.exists(bucket, "d")
    assert store.get_object(bucket, "e").read() == DATA
    with pytest.raises(InvalidRequest, match="itself"):
        store.move_object(bucket, "e", bucket, "e")
    with pytest.raises(PreconditionFailed):
        store.copy_object(bucket, "a", bucket, "f", source_if_match="0" * 32)


def test_to_a_file(store: Any, bucket: str, tmp_path: Path) -> None:
    store.put_object(bucket, "k", DATA)
    calls: list[tuple[int, int | None]] = []
    result = store.download(
        bucket, "k", tmp_path / "a", progress=lambda done, total: calls.append((done, total))
    )
    assert (tmp_path / "a").read_bytes() == DATA
    assert (result.received, result.verified) == (len(DATA), "CRC64NVME")
    assert calls[-1] == (len(DATA), len(DATA))
    store.get_object(bucket, "k", range=(5, 50)).save(tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == DATA[5:50]
    with pytest.raises(NoSuchKey):
        store.download(bucket, "none", tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_many_at_once(store: Any, bucket: str, tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}").write_bytes(bytes(number))
    seen: list[str] = []
    report = store.put_many(
        bucket,
        [(f"{n}", tmp_path / f"{n}") for n in range(51)],
        on_result=lambda result: seen.append(result.key),
        content_type="text/plain",
    )
    assert (report.done, report.bytes, len(seen)) == (50, sum(range(50)), 51)
    assert [(e.key, type(e.error)) for e in report.errors] == [("50", FileNotFoundError)]
    assert store.head_object(bucket, "7").content_type == "text/plain"
    back = store.get_many(bucket, [(f"{n}", tmp_path / f"back{n}") for n in range(51)])
    assert (back.done, [e.key for e in back.errors]) == (50, ["50"])
    assert (tmp_path / "back49").read_bytes() == bytes(49)


def test_presigned(store: Any, bucket: str) -> None:
    url = store.presign_put(bucket, "a b", headers={"content-type": "text/x"})
    with urllib.request.urlopen(
        urllib.request.Request(url, DATA, {"content-type": "text/x"}, method="PUT")
    ) as reply:
        assert reply.status == 200
    url = store.presign_get(
        bucket, "a b", expires=60, response_headers={"Content-Disposition": "attachment; x=ü"}
    )
    with urllib.request.urlopen(url) as reply:
        assert reply.read() == DATA
        assert reply.headers["content-disposition"].startswith("attachment")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url.replace("a%20b", "c"))
    refused.value.close()
    with pytest.raises(InvalidRequest):
        store.presign_get(bucket, "k", expires=8 * 86400)


def _form(fields: dict[str, str], data: bytes) -> tuple[bytes, str]:
    lines = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    head = "".join(lines) + '--b\r\nContent-Disposition: form-data; name="file"; filename="f.txt"'
    return head.encode() + b"\r\n\r\n" + data + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"


def test_presigned_form(store: Any, bucket: str) -> None:
    post = store.presign_post(
        bucket, "in/${filename}", fields={"content-type": "text/x"}, size_range=(1, 20_000)
    )
    body, kind = _form(post.fields, DATA)
    request = urllib.request.Request(post.url, body, {"content-type": kind})
    with urllib.request.urlopen(request) as reply:
        assert reply.status == 204
    assert store.get_object(bucket, "in/f.txt").read() == DATA
    body, kind = _form(post.fields, b"x" * 20_001)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(post.url, body, {"content-type": kind}))
    refused.value.close()


def test_any_other_operation(store: Any, bucket: str) -> None:
    document = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    store.request("PUT", bucket, query={"tagging": ""}, body=document)
    reply = store.request("GET", bucket, query={"tagging": ""})
    assert reply.status == 200
    assert b"<Value>b</Value>" in reply.body


def test_who_may_not(connected: Connect, store: Any, bucket: str) -> None:
    with pytest.raises(AccessDenied) as refused:
        list(connected(secret_key="wrong").list_objects(bucket))
    assert refused.value.code == "SignatureDoesNotMatch"
    with pytest.raises(AccessDenied) as refused:
        connected(access_key="nobody").head_object(bucket, "k")
    assert refused.value.status == 403
    anonymous = connected(access_key=None, secret_key=None, anonymous=True)
    with pytest.raises(AccessDenied):
        anonymous.put_object(bucket, "k", b"x" * (2 * PART))


def test_signed_payloads(connected: Connect, bucket: str) -> None:
    signing = connected(sign_payload=True)
    assert signing.put_object(bucket, "k", DATA).size == len(DATA)
    assert signing.get_object(bucket, "k").read() == DATA
