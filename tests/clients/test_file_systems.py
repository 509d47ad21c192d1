"""Python libraries that use buckets as stores of files: aiobotocore, s3fs, pyarrow, obstore."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest

from ..serving import ServeProcess
from .conftest import Page, library, same_bytes

BUCKET = "my-bucket"  # the page's
MULTIPART_BYTES = 60 * 1024**2
WRITERS = 8
ROUNDS = 5


@pytest.fixture
def bucket(holdfast: ServeProcess) -> str:
    with closing(boto3.client("s3", **holdfast.client_arguments())) as s3:
        s3.create_bucket(Bucket=BUCKET)
    return BUCKET


@pytest.fixture
def big(scratch: Path) -> Path:
    path = scratch / "big"
    path.write_bytes(os.urandom(MULTIPART_BYTES))
    return path


def test_aiobotocore(bucket: str, page: Page) -> None:
    library("aiobotocore")
    session = page("aiobotocore", variables="aws-cli")["session"]
    bodies = {f"dir/{number:03}": os.urandom(1000 * number) for number in range(100)}

    async def fetch(s3: Any, key: str) -> bytes:
        answer = await s3.get_object(Bucket=bucket, Key=key)
        async with answer["Body"] as stream:
            return bytes(await stream.read())

    async def upload_parts(s3: Any, key: str, data: bytes) -> None:
        upload = await s3.create_multipart_upload(Bucket=bucket, Key=key)
        where = {"Bucket": bucket, "Key": key, "UploadId": upload["UploadId"]}
        size = 5 * 1024**2
        numbered = enumerate((data[at : at + size] for at in range(0, len(data), size)), 1)
        parts = [(number, part) for number, part in numbered]
        answers = await asyncio.gather(
            *(s3.upload_part(**where, PartNumber=number, Body=part) for number, part in parts)
        )
        done = [
            {"PartNumber": number, "ETag": answer["ETag"]}
            for (number, _), answer in zip(parts, answers, strict=True)
        ]
        await s3.complete_multipart_upload(**where, MultipartUpload={"Parts": done})

    async def work() -> None:
        async with session.create_client("s3") as s3:
            await asyncio.gather(
                *(s3.put_object(Bucket=bucket, Key=key, Body=body) for key, body in bodies.items())
            )
            got = await asyncio.gather(*(fetch(s3, key) for key in bodies))
            assert dict(zip(bodies, got, strict=True)) == bodies
            keys = []
            pages = s3.get_paginator("list_objects_v2")
            async for listed in pages.paginate(
                Bucket=bucket, Prefix="dir/", PaginationConfig={"PageSize": 30}
            ):
                keys += [entry["Key"] for entry in listed["Contents"]]
            assert keys == list(bodies)
            data = os.urandom(12 * 1024**2)
            await upload_parts(s3, "big", data)
            assert await fetch(s3, "big") == data
            await s3.delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": key} for key in (*keys, "big")]}
            )
            assert (await s3.list_objects_v2(Bucket=bucket))["KeyCount"] == 0

    asyncio.run(work())


@pytest.fixture
def s3fs(page: Page) -> Any:
    # it keeps its instances, and one that knows another test's server would come again
    library("s3fs").S3FileSystem.clear_instance_cache()
    return page("s3fs", variables="aws-cli")["fs"]


def test_s3fs(s3fs: Any, scratch: Path, big: Path) -> None:
    fs = s3fs
    fs.mkdir("files")
    assert fs.ls("") == ["files"]
    source = scratch / "source"
    names = ["a.txt", "b.csv", "sub/c.txt", "sub/deep/d e+f%41.txt"]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name * 100)
    fs.put(f"{source}/", "files/dir/", recursive=True)
    assert fs.find("files") == [f"files/dir/{name}" for name in names]
    assert fs.ls("files/dir", detail=False) == [
        "files/dir/a.txt",
        "files/dir/b.csv",
        "files/dir/sub",
    ]
    assert fs.glob("files/**/*.txt") == [f"files/dir/{name}" for name in names if "txt" in name]
    walked = [
        (root, sorted(folders), sorted(found)) for root, folders, found in fs.walk("files/dir")
    ]
    assert walked[0] == ("files/dir", ["sub"], ["a.txt", "b.csv"])
    assert walked[-1] == ("files/dir/sub/deep", [], ["d e+f%41.txt"])
    fs.get("files/dir/", f"{scratch / 'back'}/", recursive=True)
    assert [(scratch / "back" / name).read_text() for name in names] == [n * 100 for n in names]
    assert fs.info("files/dir/a.txt")["size"] == 500
    fs.mv("files/dir/a.txt", "files/dir/moved")
    fs.rm("files/dir", recursive=True)
    assert not fs.exists("files/dir/moved")
    assert fs.ls("files", refresh=True) == []
    put_and_get_in_parts(fs, big, scratch / "big back")
    fs.rm("files", recursive=True)
    assert fs.ls("", refresh=True) == []


def put_and_get_in_parts(fs: Any, big: Path, back: Path) -> None:
    fs.put(str(big), "files/big", chunksize=8 * 1024**2)
    assert "-" in fs.info("files/big")["ETag"], "not in parts"
    with fs.open("files/big", "rb", block_size=5 * 1024**2) as file:
        file.seek(30_000_000)
        assert file.read(1000) == big.read_bytes()[30_000_000:30_001_000]
    fs.get("files/big", str(back))
    assert same_bytes(big, back)


def test_s3fs_writes_and_appends(bucket: str, s3fs: Any) -> None:
    """Small objects are written anew, large ones put together by UploadPartCopy."""
    fs = s3fs
    for size in (0, 1000, 6 * 1024**2):
        first, second = os.urandom(size), os.urandom(6 * 1024**2)
        with fs.open(f"{bucket}/file", "wb") as file:
            file.write(first)
        with fs.open(f"{bucket}/file", "ab") as file:
            file.write(second)
        assert fs.cat(f"{bucket}/file") == first + second
    with fs.open(f"{bucket}/new", "xb") as file:
        file.write(b"once")
    with pytest.raises(OSError, match="pre-conditions"), fs.open(f"{bucket}/new", "xb") as file:
        file.write(b"twice")
    assert fs.cat(f"{bucket}/new") == b"once"
    fs.pipe({f"{bucket}/many/{n}": str(n).encode() for n in range(200)})
    assert fs.cat(f"{bucket}/many/*")[f"{bucket}/many/99"] == b"99"
    with pytest.raises(FileNotFoundError):
        fs.cat(f"{bucket}/nothing")


def test_pyarrow(bucket: str, page: Page, big: Path) -> None:
    pa, ds, fs = library("pyarrow"), library("pyarrow.dataset"), library("pyarrow.fs")
    s3 = page("pyarrow")["s3"]
    table = pa.table({"key": list(range(10_000)), "part": [n % 4 for n in range(10_000)]})
    partitioning = ds.partitioning(pa.schema([("part", pa.int64())]), flavor="hive")
    place = {"filesystem": s3, "partitioning": partitioning}
    ds.write_dataset(table, f"{bucket}/data", format="parquet", **place)
    data = ds.dataset(f"{bucket}/data", **place)
    assert len(data.files) == 4
    assert data.to_table().sort_by("key").select(["key", "part"]).equals(table)
    assert data.to_table(filter=ds.field("part") == 3)["key"].to_pylist() == list(
        range(3, 10_000, 4)
    )
    ds.write_dataset(
        table.slice(0, 400),
        f"{bucket}/data",
        format="parquet",
        existing_data_behavior="delete_matching",
        **place,
    )
    assert ds.dataset(f"{bucket}/data", **place).count_rows() == 400

    with s3.open_output_stream(f"{bucket}/dir/big") as out, big.open("rb") as source:
        while piece := source.read(7_000_000):
            out.write(piece)
    with s3.open_input_file(f"{bucket}/dir/big") as file:
        assert file.size() == MULTIPART_BYTES
        assert file.read_at(1000, 50_000_000) == big.read_bytes()[50_000_000:50_001_000]
        assert file.read() == big.read_bytes()
    with pytest.raises(NotImplementedError):
        s3.open_append_stream(f"{bucket}/dir/big")

    s3.move(f"{bucket}/dir/big", f"{bucket}/moved")
    s3.create_dir(f"{bucket}/empty")
    found = s3.get_file_info(fs.FileSelector(bucket))
    kinds = {entry.base_name: entry.type for entry in found}
    directory = fs.FileType.Directory
    assert kinds == {
        "data": directory,
        "dir": directory,
        "empty": directory,
        "moved": fs.FileType.File,
    }
    s3.delete_dir_contents(bucket)
    assert s3.get_file_info(fs.FileSelector(bucket)) == []


def test_obstore(bucket: str, page: Page, big: Path) -> None:
    library("obstore")
    store = page("obstore")["store"]
    keys = sorted(f"dir/{number:03} ü+%41" for number in range(120))
    for key in keys:
        store.put(key, key.encode(), attributes={"Content-Type": "text/plain", "note": "kept"})
    listed = [entry["path"] for chunk in store.list("dir") for entry in chunk]
    assert listed == keys
    answer = store.get(keys[7])
    assert bytes(answer.bytes()) == keys[7].encode()
    assert answer.attributes["note"] == "kept"
    data = big.read_bytes()
    store.put("big", big)
    assert "-" in store.head("big")["e_tag"], "not in parts"
    assert bytes(store.get("big").bytes()) == data
    ranges = store.get_ranges("big", starts=[0, 20_000_000, 59_000_000], lengths=[10, 1000, 20])
    assert [bytes(part) for part in ranges] == [
        data[start : start + length]
        for start, length in ((0, 10), (20_000_000, 1000), (59_000_000, 20))
    ]
    unchanged = {"if_none_match": store.head("big")["e_tag"]}
    with pytest.raises(library("obstore.exceptions").NotModifiedError):
        store.get("big", options=unchanged)
    store.copy("big", "copy")
    store.rename("copy", "renamed")
    top = store.list_with_delimiter()
    assert [entry["path"] for entry in top["objects"]] == ["big", "renamed"]
    assert top["common_prefixes"] == ["dir"]
    store.delete([*keys, "big", "renamed", "not there"])
    assert store.list().collect() == []


def test_obstore_conditional_puts(bucket: str, page: Page) -> None:
    """Of those who create a key, or replace the same version, exactly one succeeds."""
    errors = library("obstore.exceptions")
    store = page("obstore")["store"]

    def attempt(key: str, body: bytes, mode: Any, lost: type[Exception]) -> dict[str, str] | None:
        try:
            return dict(store.put(key, body, mode=mode))
        except lost:
            return None

    with ThreadPoolExecutor(WRITERS) as pool:
        for number in range(ROUNDS):
            key = f"{number}"
            bodies = [f"{number} {writer}".encode() for writer in range(WRITERS)]
            made = list(
                pool.map(
                    lambda b, k=key: attempt(k, b, "create", errors.AlreadyExistsError), bodies
                )
            )
            (winner,) = (result for result in made if result is not None)
            assert bytes(store.get(key).bytes()) == bodies[made.index(winner)]
            version = {"e_tag": winner["e_tag"]}
            bodies = [body + b" again" for body in bodies]
            replaced = list(
                pool.map(
                    lambda b, k=key, v=version: attempt(k, b, v, errors.PreconditionError), bodies
                )
            )
            (winner,) = (result for result in replaced if result is not None)
            assert bytes(store.get(key).bytes()) == bodies[replaced.index(winner)]
