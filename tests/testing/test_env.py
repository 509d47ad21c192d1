"""Unmodified clients find the server by the environment alone; docs/testing.md lists which do."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from holdfast.testing.record import RequestLog
from holdfast.testing.server import Server

from ..clients.conftest import library

pytestmark = pytest.mark.usefixtures("s3_env")


def test_boto3(s3_bucket: str, s3_requests: RequestLog) -> None:
    import boto3

    client = boto3.client("s3")
    client.put_object(Bucket=s3_bucket, Key="k", Body=b"x")
    client.close()
    boto3.resource("s3").Object(s3_bucket, "k").load()
    s3_requests.assert_called("PutObject", status=200)
    s3_requests.assert_called("HeadObject", status=200)


def test_boto3_presigns_what_s3_takes(s3_bucket: str) -> None:
    import boto3

    client = boto3.client("s3")
    client.put_object(Bucket=s3_bucket, Key="k", Body=b"x")
    url = client.generate_presigned_url("get_object", Params={"Bucket": s3_bucket, "Key": "k"})
    client.close()
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"x"


def test_aiobotocore(s3_bucket: str, s3_requests: RequestLog) -> None:
    import asyncio

    session = library("aiobotocore.session").get_session()

    async def work() -> None:
        async with session.create_client("s3") as client:
            await client.put_object(Bucket=s3_bucket, Key="k", Body=b"x")

    asyncio.run(work())
    s3_requests.assert_called("PutObject", status=200)


def test_s3fs(s3_bucket: str, s3_requests: RequestLog) -> None:
    fs = library("s3fs").S3FileSystem()
    fs.pipe(f"{s3_bucket}/k", b"x")
    assert fs.cat(f"{s3_bucket}/k") == b"x"
    s3_requests.assert_called("PutObject", status=200)


def test_fsspec(s3_bucket: str) -> None:
    library("s3fs")
    fsspec = library("fsspec")
    with fsspec.open(f"s3://{s3_bucket}/k", "wb") as file:
        file.write(b"x")
    with fsspec.open(f"s3://{s3_bucket}/k") as file:
        assert file.read() == b"x"


def test_pyarrow_urls(s3_bucket: str, s3_requests: RequestLog) -> None:
    arrow = library("pyarrow")
    parquet = library("pyarrow.parquet")
    parquet.write_table(arrow.table({"a": [1, 2]}), f"s3://{s3_bucket}/t.parquet")
    assert parquet.read_table(f"s3://{s3_bucket}/t.parquet").num_rows == 2
    s3_requests.assert_called("GetObject", key="t.parquet")


def test_pyarrow_file_system(s3_server: Server, s3_bucket: str) -> None:
    """It has to be told where."""
    fs = library("pyarrow.fs")
    s3 = fs.S3FileSystem(endpoint_override=s3_server.endpoint)
    with s3.open_output_stream(f"{s3_bucket}/k") as file:
        file.write(b"x")
    assert s3.get_file_info(f"{s3_bucket}/k").size == 1


def test_polars(s3_bucket: str) -> None:
    polars = library("polars")
    polars.DataFrame({"a": [1, 2]}).write_parquet(f"s3://{s3_bucket}/t.parquet")
    assert polars.scan_parquet(f"s3://{s3_bucket}/*.parquet").collect().height == 2


def test_obstore(s3_bucket: str) -> None:
    store = library("obstore.store")
    for one in (store.S3Store(s3_bucket), store.from_url(f"s3://{s3_bucket}")):
        one.put("k", b"x")
        assert bytes(one.get("k").bytes()) == b"x"


def test_deltalake(s3_bucket: str) -> None:
    arrow = library("pyarrow")
    delta = library("deltalake")
    for _ in range(2):
        delta.write_deltalake(f"s3://{s3_bucket}/t", arrow.table({"a": [1]}), mode="append")
    assert delta.DeltaTable(f"s3://{s3_bucket}/t").version() == 1


def test_duckdb(s3_bucket: str, s3_requests: RequestLog) -> None:
    duckdb = library("duckdb")
    httpfs = Path(library("duckdb_extension_httpfs").__file__).parent
    (extension,) = httpfs.rglob("httpfs.duckdb_extension")
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension}'")
        url = f"s3://{s3_bucket}/t.parquet"
        connection.execute(f"COPY (SELECT 1 AS a) TO '{url}'")
        assert connection.execute(f"SELECT a FROM '{url}'").fetchall() == [(1,)]
    s3_requests.assert_called("PutObject", bucket=s3_bucket)


def test_programs_find_it_too(s3_bucket: str, s3_requests: RequestLog) -> None:
    code = f"import boto3; boto3.client('s3').put_object(Bucket={s3_bucket!r}, Key='k', Body=b'x')"
    subprocess.run([sys.executable, "-c", code], check=True)
    s3_requests.assert_called("PutObject", status=200)


def test_nothing_else_is_said(s3_env: dict[str, str], s3_server: Server) -> None:
    ours = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    assert ours == {name: value for name, value in s3_env.items() if name.startswith("AWS_")}
    assert s3_env["AWS_SECRET_ACCESS_KEY"] == s3_server.secret_key
    assert not Path(s3_env["AWS_SHARED_CREDENTIALS_FILE"]).exists()


def test_the_default_session_is_not_another_tests(s3_server: Server) -> None:
    import boto3

    assert boto3.DEFAULT_SESSION is None
    client: Any = boto3.client("s3")
    assert client.meta.endpoint_url == s3_server.endpoint
    client.close()
