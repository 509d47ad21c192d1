"""Python libraries that keep tables in a bucket: DuckDB, Polars, delta-rs, pyiceberg."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest

from ..serving import ServeProcess
from .conftest import Page, library
from .settings import block

BUCKET = "my-bucket"  # the page's
ROWS = 100_000
WRITERS = 4
COMMITS = 5


@pytest.fixture(autouse=True)
def bucket(holdfast: ServeProcess) -> str:
    with closing(boto3.client("s3", **holdfast.client_arguments())) as s3:
        s3.create_bucket(Bucket=BUCKET)
    return BUCKET


def test_duckdb(bucket: str, holdfast: ServeProcess) -> None:
    extension = Path(library("duckdb_extension_httpfs").__path__[0])
    (file,) = extension.rglob("httpfs.duckdb_extension")
    url = f"s3://{bucket}"
    with library("duckdb").connect() as db:
        db.execute(f"LOAD '{file}'")
        db.execute(block("DuckDB", "sql", holdfast.endpoint))
        db.execute(
            f"CREATE TABLE t AS SELECT range k, range % 4 p, md5(range::text) v FROM range({ROWS})"
        )

        def answer(query: str) -> list[Any]:
            return list(db.execute(query).fetchall())

        db.execute(f"COPY t TO '{url}/one.parquet'")
        db.execute(f"COPY t TO '{url}/parts' (FORMAT parquet, PARTITION_BY (p))")
        db.execute(f"COPY t TO '{url}/all.csv'")
        assert len(answer(f"FROM glob('{url}/parts/*/*.parquet')")) == 4
        assert answer(f"SELECT count(*), sum(k) FROM read_parquet('{url}/parts/*/*.parquet')") == [
            (ROWS, ROWS * (ROWS - 1) // 2)
        ]
        only = f"read_parquet('{url}/**/data_*.parquet', hive_partitioning = true) WHERE p = 3"
        assert answer(f"SELECT count(*), min(k) FROM {only}") == [(ROWS // 4, 3)]
        for copy in ("one.parquet", "all.csv"):
            assert answer(f"SELECT k, p, v FROM '{url}/{copy}' EXCEPT FROM t") == []
        with pytest.raises(library("duckdb").Error, match="404"):
            answer(f"FROM '{url}/nothing.parquet'")


def test_polars(bucket: str, page: Page) -> None:
    pl = library("polars")
    where = {"storage_options": page("Polars")["storage_options"]}
    url = f"s3://{bucket}"
    frame = pl.DataFrame({"k": range(ROWS), "p": [n % 4 for n in range(ROWS)]})
    for part in range(4):
        frame.filter(pl.col("p") == part).write_parquet(f"{url}/parts/{part}.parquet", **where)
    frame.lazy().sink_parquet(f"{url}/one.parquet", **where)
    frame.write_csv(f"{url}/all.csv", **where)
    parts = pl.scan_parquet(f"{url}/parts/*.parquet", **where)
    assert parts.collect().sort("k").equals(frame)
    assert parts.filter(pl.col("p") == 2).select(pl.col("k").sum()).collect().item() == sum(
        range(2, ROWS, 4)
    )
    assert pl.read_parquet(f"{url}/one.parquet", **where).equals(frame)
    assert pl.scan_parquet(f"{url}/one.parquet", **where).tail(3).collect().equals(frame.tail(3))
    assert pl.scan_csv(f"{url}/all.csv", **where).collect().equals(frame)
    with pytest.raises(FileNotFoundError):
        pl.read_parquet(f"{url}/nothing.parquet", **where)


def test_delta(bucket: str, page: Page) -> None:
    """Create, append, delete rows, compact, look back, clean up."""
    deltalake, pa = library("deltalake"), library("pyarrow")
    options = page("delta-rs")["storage_options"]
    url = f"s3://{bucket}/table"

    def keys(version: int | None = None) -> list[int]:
        table = deltalake.DeltaTable(url, version=version, storage_options=options)
        return sorted(table.to_pyarrow_table()["k"].to_pylist())

    for number in range(5):
        data = pa.table({"k": range(number * 10, number * 10 + 10), "p": [number % 2] * 10})
        deltalake.write_deltalake(
            url, data, mode="append", partition_by=["p"], storage_options=options
        )
    table = deltalake.DeltaTable(url, storage_options=options)
    assert (table.version(), keys()) == (4, list(range(50)))
    table.delete("k < 10")
    assert keys() == list(range(10, 50))
    assert keys(version=1) == list(range(20))
    table.optimize.compact()
    table.create_checkpoint()
    assert keys() == list(range(10, 50))
    gone = table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert len(gone) >= 5
    assert keys() == list(range(10, 50))
    data = pa.table({"k": [99], "p": [0]})
    deltalake.write_deltalake(url, data, mode="overwrite", storage_options=options)
    assert keys() == [99]


def test_delta_commits_at_once(bucket: str, page: Page) -> None:
    """Each commit creates the next version's file or tries again: none is lost, none is doubled."""
    deltalake, pa = library("deltalake"), library("pyarrow")
    options = page("delta-rs")["storage_options"]
    url = f"s3://{bucket}/table"
    deltalake.write_deltalake(url, pa.table({"writer": [-1], "n": [0]}), storage_options=options)
    patient = deltalake.CommitProperties(max_commit_retries=100)

    def write(writer: int) -> None:
        for number in range(COMMITS):
            deltalake.write_deltalake(
                url,
                pa.table({"writer": [writer], "n": [number]}),
                mode="append",
                storage_options=options,
                commit_properties=patient,
            )

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    table = deltalake.DeltaTable(url, storage_options=options)
    rows = table.to_pyarrow_table().to_pylist()
    wanted = [(-1, 0), *((w, n) for w in range(WRITERS) for n in range(COMMITS))]
    assert sorted((row["writer"], row["n"]) for row in rows) == wanted
    assert table.version() == WRITERS * COMMITS


def test_iceberg(page: Page) -> None:
    library("pyiceberg")
    pa = library("pyarrow")
    catalog = page("pyiceberg")["catalog"]
    catalog.create_namespace("lake")
    schema = pa.schema([("k", pa.int64()), ("v", pa.string())])
    table = catalog.create_table("lake.t", schema=schema)
    for number in range(3):
        table.append(pa.table({"k": [number], "v": [str(number)]}, schema=schema))
    first = table.history()[0].snapshot_id
    assert table.scan(snapshot_id=first).to_arrow().num_rows == 1
    table.delete("k = 1")
    with table.update_schema() as update:
        update.add_column("more", library("pyiceberg.types").LongType())
    table.overwrite(pa.table({"k": [7], "v": ["seven"], "more": [70]}), overwrite_filter="k = 2")
    rows = catalog.load_table("lake.t").scan().to_arrow().sort_by("k").to_pylist()
    assert rows == [{"k": 0, "v": "0", "more": None}, {"k": 7, "v": "seven", "more": 70}]
    catalog.purge_table("lake.t")
    assert catalog.list_tables("lake") == []


def test_iceberg_commits_at_once(page: Page) -> None:
    """The catalog lets one commit pass at a time; who lost reads the table again."""
    lost: type[Exception] = library("pyiceberg.exceptions").CommitFailedException
    pa = library("pyarrow")
    catalog = page("pyiceberg")["catalog"]
    catalog.create_namespace("lake")
    schema = pa.schema([("writer", pa.int64()), ("n", pa.int64())])
    catalog.create_table("lake.t", schema=schema)

    def write(writer: int) -> None:
        for number in range(COMMITS):
            row = pa.table({"writer": [writer], "n": [number]}, schema=schema)
            while True:
                try:
                    catalog.load_table("lake.t").append(row)
                    break
                except lost:
                    time.sleep(random.random() / 10)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    rows = catalog.load_table("lake.t").scan().to_arrow().to_pylist()
    wanted = [(w, n) for w in range(WRITERS) for n in range(COMMITS)]
    assert sorted((row["writer"], row["n"]) for row in rows) == wanted
