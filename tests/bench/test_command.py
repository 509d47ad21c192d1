"""The whole command against a far end, and what it says to wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.__main__ import main
from bench.endpoint import Endpoint, parse_endpoint
from bench.machine import probe_sync
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
            *("--objects", "20", "--keys", "40", "--probe-dir", str(tmp_path)),
            *arguments,
        )
    return result, json.loads(file.read_text())


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short on a busy disk: no system-wide sync before each run, few probes, small streams."""
    monkeypatch.setattr("os.sync", lambda: None)
    monkeypatch.setattr(probe_sync, "__defaults__", (5,))
    monkeypatch.setattr("bench.workloads.STREAM_BYTES_MIN", 1024 * 1024)


def test_a_whole_run(tmp_path: Path) -> None:
    store = TinyStore()
    result, figures = measure(
        store, tmp_path, "--workload", "put-4k,get-4k,head-4k,list-10,put-1m,get-1m", "--clean"
    )
    assert result.exit_code == 0, result.output
    assert figures["valid"] is True
    medians = figures["medians"]
    assert isinstance(medians, list)
    assert [row["workload"] for row in medians] == [
        "put-4k, 4 connections",
        "get-4k, 4 connections",
        "head-4k, 4 connections",
        "list-10 at the start, 1 connection",
        "list-10 at the middle, 1 connection",
        "list-10 at the end, 1 connection",
        "put-1m, 1 connection",
        "get-1m, 1 connection",
    ]
    assert all(row["rate"] > 0 for row in medians)
    assert "fdatasync" in result.output
    assert "secret" not in json.dumps(figures)
    assert store.buckets == {}


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
        return store(method, target.replace("start-after", "after"), body)

    result, figures = measure(answer, tmp_path, "--workload", "list-10")
    assert result.exit_code == 1
    assert "not those put there" in result.output
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
        (["--workload", "list-1001"], "1 to 1000 keys"),
        (["--workload", "list-1000", "--keys", "100"], "at least 2000 keys"),
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
