"""The whole command against a far end, and what it says to wrong input."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from xml.etree import ElementTree

import boto3
import pytest
from click.testing import CliRunner, Result

from bench.__main__ import main
from bench.endpoint import Endpoint, parse_endpoint
from bench.machine import probe_sync
from bench.plan import LISTINGS, VARIANTS
from holdfast.testing.server import Server
from tests.bench.far_end import Answer, TinyStore, far_end, response

_KEYS = "access,secret"


def bench(endpoint: Endpoint, *arguments: str) -> Result:
    target = f"{endpoint.name}=http://{endpoint.host},{endpoint.access_key},{endpoint.secret_key}"
    return CliRunner().invoke(main, ["--endpoint", target, *arguments])


def measure(answer: Answer, tmp_path: Path, *arguments: str) -> tuple[Result, dict[str, object]]:
    file = tmp_path / "figures.json"
    with far_end(answer) as endpoint:
        result = bench(
            endpoint,
            *("--seconds", "0.2", "--repeat", "1", "--connections", "4", "--json", str(file)),
            *("--objects", "20", "--probe-dir", str(tmp_path)),
            *arguments,
        )
    return result, json.loads(file.read_text())


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short on a busy disk: no system-wide sync before each run, few probes, small streams."""
    monkeypatch.setattr("os.sync", lambda: None)
    monkeypatch.setattr(probe_sync, "__defaults__", (5,))
    monkeypatch.setattr("bench.plan.STREAM_BYTES_MIN", 1024 * 1024)


def test_a_whole_run(tmp_path: Path) -> None:
    store = TinyStore()
    plan = "put-4k,put-1,get-4k,head-4k,delete-4k,list-flat-100@1,put-1m@2,get-1m"
    result, figures = measure(store, tmp_path, "--workload", plan, "--clean")
    assert result.exit_code == 0, result.output
    assert figures["valid"] is True
    medians = figures["medians"]
    assert isinstance(medians, list)
    assert [row["workload"] for row in medians] == [
        "put-4k, 4 connections",
        "put-1, 4 connections",
        "get-4k, 4 connections",
        "head-4k, 4 connections",
        "delete-4k, 4 connections",
        "list-flat-100, 1 connection",
        "put-1m, 2 connections",
        "get-1m, 1 connection",
    ]
    assert all(row["rate"] > 0 for row in medians)
    assert "fdatasync" in result.output
    assert "secret" not in json.dumps(figures)
    assert store.buckets == {}


def test_every_kind_of_request_is_what_a_server_takes(tmp_path: Path) -> None:
    """And its figures are drawn. The server verifies signatures, chunks and checksums."""
    names = [f"put-4k-{variant}" for variant in VARIANTS["put"]]
    names += ["put-300k-chunked", "put-300k-trailer", "put-9", "mixed-4k", "range-200k"]
    names += ["get-4k-presigned", "head-4k-presigned", "multipart-8m@2", "range-200k-presigned"]
    names += [f"list-{kind}-200@1" for kind in LISTINGS]
    with Server() as server:
        target = f"hf={server.endpoint},{server.access_key},{server.secret_key}"
        arguments = ("--seconds", "0.1", "--repeat", "1", "--objects", "20", "--clean")
        files = ("--probe-dir", str(tmp_path), "--plots", str(tmp_path / "plots"))
        plan = ("--connections", "2", "--workload", ",".join(names))
        result = CliRunner().invoke(main, ["--endpoint", target, *arguments, *files, *plan])
        client = boto3.client("s3", **server.client_arguments())
        assert client.list_buckets()["Buckets"] == []
        client.close()
    assert result.exit_code == 0, result.output
    for picture in ("rates.svg", "latencies.svg"):
        texts = ElementTree.parse(tmp_path / "plots" / picture).getroot().itertext()
        titles = " ".join(texts)
        assert "mixed-4k, 2 connections" in titles
        assert "list-deep-200, 1 connection" in titles


def test_large_objects_go_after_each_run(tmp_path: Path) -> None:
    store = TinyStore()
    result, figures = measure(store, tmp_path, "--workload", "put-1m@2,put-4k@1")
    assert figures["valid"], result.output
    left = [key for key in store.buckets["holdfast-bench"] if key.startswith("put/")]
    assert left
    assert not any("stream" in key for key in left)


def test_what_is_interrupted_is_printed(tmp_path: Path) -> None:
    store, requests = TinyStore(), 0

    def answer(method: str, target: str, body: bytes) -> bytes:
        nonlocal requests
        requests += "/get/" in target
        if requests == 60:
            os.kill(os.getpid(), signal.SIGINT)
        return store(method, target, body)

    result, figures = measure(answer, tmp_path, "--workload", "put-4k,get-4k")
    assert result.exit_code == 130
    runs = figures["runs"]
    assert isinstance(runs, list)
    assert [run["workload"] for run in runs] == ["put-4k, 4 connections"]
    assert "interrupted" in result.output


def test_one_wrong_answer_makes_the_run_invalid(tmp_path: Path) -> None:
    store = TinyStore()
    puts = 0

    def answer(method: str, target: str, body: bytes) -> bytes:
        nonlocal puts
        puts += "/put/" in target
        return response(503) if puts == 10 else store(method, target, body)

    result, figures = measure(answer, tmp_path, "--workload", "put-4k")
    assert result.exit_code == 1
    assert "status 503" in result.output
    assert figures["valid"] is False


@pytest.mark.parametrize("workload", ["get-4k", "get-1m"])
def test_wrong_bytes_are_found_before_anything_is_measured(tmp_path: Path, workload: str) -> None:
    store = TinyStore()

    def answer(method: str, target: str, body: bytes) -> bytes:
        raw = store(method, target, body)
        return raw[:-16] + bytes(16) if method == "GET" else raw

    result, figures = measure(answer, tmp_path, "--workload", workload)
    assert result.exit_code == 1
    assert "other bytes" in result.output
    assert figures["runs"] == []


def test_a_page_of_wrong_keys_is_found(tmp_path: Path) -> None:
    store = TinyStore()

    def answer(method: str, target: str, body: bytes) -> bytes:
        return store(method, target, body).replace(b"/00000007<", b"/00000008<")

    result, figures = measure(answer, tmp_path, "--workload", "list-flat-100@1")
    assert result.exit_code == 1
    assert "other names than were put there" in result.output
    assert figures["runs"] == []


def test_a_refused_key_says_what_to_check(tmp_path: Path) -> None:
    result, _ = measure(lambda *_: response(403), tmp_path, "--workload", "put-4k")
    assert result.exit_code == 1
    assert "check the access key" in result.output


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--endpoint", "http://127.0.0.1:9"], "want NAME=http://HOST:PORT"),
        (["--endpoint", f"a=ftp://127.0.0.1,{_KEYS}"], "http:// or https://"),
        (["--endpoint", f"a=http://192.0.2.1:9,{_KEYS}"], "--allow-remote"),
        (["--endpoint", f"a=http://127.0.0.1:9,{_KEYS}"] * 2, "its own NAME"),
        (["--workload", "post-4k"], "unknown workload"),
        (["--workload", "list-flat-150"], "hundreds of KEYS"),
        (["--workload", "list-tall-1k"], "flat, delimiter, deep, versions"),
        (["--workload", "get-4k-chunked"], "presigned, cold"),
        (["--workload", "put-1g-trailer"], "below 64m"),
        (["--workload", "put-1g@65"], "at most 64"),
        (["--workload", "put-4k@0"], "connections behind the @"),
        (["--suite", "slow"], "quick"),
        (["--connections", "0"], "numbers from 1"),
        (["--pid", "b=1"], "NAME one of a"),
        (["--pid", "a=x"], "no process"),
    ],
)
def test_wrong_usage_says_what_to_write(arguments: list[str], hint: str) -> None:
    if arguments[0] != "--endpoint":
        arguments = ["--endpoint", f"a=http://127.0.0.1:9,{_KEYS}", *arguments]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    # click breaks lines
    assert hint in " ".join(result.output.split())


def test_a_server_that_is_not_there() -> None:
    with far_end(lambda *_: response(200)) as endpoint:
        pass
    result = bench(endpoint, "--workload", "put-4k")
    assert result.exit_code == 1
    assert "Is the server running?" in result.output


def test_a_secret_may_hold_commas() -> None:
    endpoint = parse_endpoint("a=http://[::1]:9,k,s,t", "r", allow_remote=False)
    assert (endpoint.secret_key, endpoint.address.host, endpoint.host) == ("s,t", "::1", "[::1]:9")
