"""The soak finds what is wrong: stale or wrong answers, and whatever grows."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from bench.slow_uploads import SlowUploads
from bench.soak import Sample, judge, main, picture
from bench.traffic import Ledger, Tally, Traffic
from holdfast.testing.server import Server
from tests.bench.far_end import Answer, TinyStore, far_end, response

_MIB = 1024 * 1024


class Enough(Ledger):
    """Sets `stop` after so many answers or errors, however long they take; 30 s at the most."""

    def __init__(self, stop: threading.Event, answers: int) -> None:
        super().__init__()
        self._stop = stop
        self._left = answers
        self._last = threading.Timer(30.0, stop.set)
        self._last.start()

    def _count(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self._last.cancel()
            self._stop.set()

    def add(self, operation: str, seconds: float) -> None:
        super().add(operation, seconds)
        self._count()

    def error(self, text: str) -> None:
        super().error(text)
        self._count()


def soaked(answer: Answer, answers: int = 800) -> Tally:
    stop = threading.Event()
    ledger = Enough(stop, answers)
    with far_end(answer) as endpoint:
        endpoint.make_bucket("b")
        Traffic(endpoint, "b", ledger, connections=12, active=4).run(stop)
    return ledger.take()


class Store(TinyStore):
    """With listings by prefix."""

    def __call__(self, method: str, target: str, body: bytes) -> bytes:
        parts = urlsplit(target)
        bucket = parts.path.lstrip("/")
        if parts.query:
            prefix = parts.query.rpartition("prefix=")[2].replace("%2F", "/")
            keys = [key for key in sorted(self.buckets[bucket]) if key.startswith(prefix)]
            return response(200, "".join(f"<Key>{key}</Key>" for key in keys).encode())
        return super().__call__(method, target, body)


def test_right_answers_are_no_errors() -> None:
    tally = soaked(Store())
    assert not tally.errors
    assert tally.count() >= 800
    assert set(tally.latencies) == {"GET", "PUT", "HEAD", "DELETE", "LIST"}


def test_what_is_lost_is_found() -> None:
    store, puts = Store(), 0

    def forgetful(method: str, target: str, body: bytes) -> bytes:
        nonlocal puts
        puts += method == "PUT"
        # every third PUT is answered, but not done
        return response(200) if method == "PUT" and puts % 3 == 0 else store(method, target, body)

    errors = soaked(forgetful).errors
    assert any(error.endswith(": status 404") for error in errors), errors
    assert any("keys, not the" in error for error in errors), errors


def test_what_is_stale_is_found() -> None:
    store = Store()

    def stale(method: str, target: str, body: bytes) -> bytes:
        known = target.rpartition("/b/")[2] in store.buckets.get("b", {})
        return response(200) if method == "PUT" and known else store(method, target, body)

    errors = soaked(stale, 2000).errors
    assert set(errors) == {"GET: other bytes than were put there"}


def test_what_is_deleted_must_be_gone() -> None:
    store = Store()

    def answer(method: str, target: str, body: bytes) -> bytes:
        if method == "DELETE":
            return b"HTTP/1.1 204 No Content\r\n\r\n"
        return store(method, target, body)

    errors = soaked(answer).errors
    assert any("status 200 of a key not there" in error for error in errors), errors


def test_a_server_may_close_what_rests() -> None:
    store = Store()

    def answer(method: str, target: str, body: bytes) -> bytes:
        raw = store(method, target, body)
        return raw.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)

    tally = soaked(answer, 200)
    assert not tally.errors
    assert tally.count() >= 200


@pytest.mark.parametrize("whole", [True, False])
def test_uploads_are_verified(whole: bool) -> None:
    """A server that keeps less than it was sent is found by the ETag or by the end."""
    stop = threading.Event()
    ledger = Enough(stop, 7)
    with Server() as server, far_end(lambda *_: response(200, b"")) as far:
        near = replace(
            far,
            address=replace(far.address, port=int(server.endpoint.rpartition(":")[2])),
            host=server.endpoint.partition("//")[2],
            access_key=server.access_key,
            secret_key=server.secret_key,
        )
        endpoint = near if whole else far
        endpoint.make_bucket("bucket")
        uploads = SlowUploads(
            endpoint, "bucket", ledger, count=3, size=65536, bytes_per_second=1_000_000
        )
        uploads.run(stop)
    tally = ledger.take()
    assert bool(tally.errors) is not whole, tally.errors
    assert (len(tally.latencies.get("upload", ())) >= 7) is whole
    if not whole:
        assert "upload: another ETag than that of what was sent" in tally.errors


STEADY = Sample(
    1.0, 100, 1, 1, 1.0, 10.0, 50.0, {}, 0.5, 0.1, {"worker": 100 * _MIB}, 50 * _MIB, 64 * _MIB
)


def after(samples: list[Sample], wrong: Sample) -> list[str]:
    """What the verdict finds wrong when the last quarter is like `wrong`."""
    changed = [*samples[: len(samples) * 3 // 4], *[wrong] * (len(samples) // 4)]
    return [finding.what for finding in judge(changed, 0.25) if not finding.good]


def test_the_verdict() -> None:
    samples = [replace(STEADY, minute=float(number)) for number in range(12)]
    assert [finding for finding in judge(samples, 0.25) if not finding.good] == []
    assert after(samples, replace(STEADY, pss_bytes={"worker": 150 * _MIB})) == ["memory of worker"]
    assert after(samples, replace(STEADY, database_bytes=80 * _MIB)) == ["database"]
    assert after(samples, replace(STEADY, wal_bytes=120 * _MIB)) == ["WAL"]
    assert after(samples, replace(STEADY, p99_ms=20.0)) == ["p99"]
    assert after(samples, replace(STEADY, errors={"status 500": 1})) == ["no error"]
    assert after(samples, replace(STEADY, requests=0)) == ["answers in every interval"]
    assert [finding.what for finding in judge(samples[:2], 0.25) if not finding.good] == [
        "long enough to judge"
    ]


def test_the_picture_shows_every_line() -> None:
    samples = [replace(STEADY, minute=float(number)) for number in range(1, 5)]
    drawn = picture(samples)
    for text in ("p99", "worker", "database", "WAL", "400 small requests, 0 errors"):
        assert text in drawn


def test_a_short_soak_of_a_server_of_its_own(tmp_path: Path) -> None:
    file, drawn = tmp_path / "soak.json", tmp_path / "soak.svg"
    arguments = ["--minutes", "0.04", "--dir", str(tmp_path), "--connections", "40"]
    arguments += ["--uploads", "4", "--upload-mib", "10", "--active", "8", "--tolerance", "10"]
    result = CliRunner().invoke(main, [*arguments, "--json", str(file), "--svg", str(drawn)])
    assert "ok     no error" in result.output
    figures = json.loads(file.read_text())
    roles = {role for sample in figures["samples"] for role in sample["pss_bytes"]}
    assert {"supervisor", "committer", "worker"} <= roles
    assert figures["samples"][-1]["database_bytes"] > 0
    assert sum(sample["requests"] for sample in figures["samples"]) > 0
    assert drawn.read_text().startswith("<svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["soak.json", "soak.svg"]
