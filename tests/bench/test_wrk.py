"""wrk as the load generator: the same figures, and wrong answers found as far as wrk lets."""

from __future__ import annotations

import itertools

import pytest

from bench import wrk
from bench.endpoint import Endpoint
from bench.load import Outcome, Request
from bench.plan import Workload, parse_workload
from bench.wrk import read_result, run_wrk
from tests.bench.far_end import Answer, far_end, response

needs_wrk = pytest.mark.skipif(not wrk.is_there(), reason="wrk is not installed")


def requests(endpoint: Endpoint, count: int) -> list[Request]:
    signer = endpoint.signer()
    return [
        (signer.head("PUT", f"/b/{number}", length=5), b"12", b"345") for number in range(count)
    ]


def workload(name: str) -> Workload:
    return parse_workload(name, [2])[0]


def play(answer: Answer, name: str, count: int, *, once: bool = False) -> Outcome:
    with far_end(answer) as endpoint:
        return run_wrk(
            endpoint.address,
            requests(endpoint, count),
            workload(name),
            connections=2,
            seconds=1,
            once=once,
        )


@needs_wrk
def test_requests_are_played_in_order_and_whole() -> None:
    seen: list[tuple[str, bytes]] = []

    def answer(method: str, target: str, body: bytes) -> bytes:
        seen.append((target, body))
        return response(200, b"x" * 4096)

    outcome = play(answer, "get-4k", 7)
    assert not outcome.errors
    assert outcome.answered > 7
    assert len(outcome.latencies) >= outcome.answered * 0.9
    assert 0 < outcome.client_seconds < outcome.seconds
    assert {target for target, _ in seen} == {f"/b/{number}" for number in range(7)}
    assert {body for _, body in seen} == {b"12345"}


@needs_wrk
@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (response(503), "status above 399"),
        (response(200, b"x" * 100), "answers of"),
    ],
)
def test_wrong_answers_are_found(raw: bytes, error: str) -> None:
    numbers = itertools.count()
    right = response(200, b"x" * 4096)
    # wrk sees one bad status; a short body only where there are many
    every = 2 if b" 200 " in raw else 50
    outcome = play(lambda *_: raw if next(numbers) % every == 0 else right, "get-4k", 50)
    assert any(error in text for text in outcome.errors), outcome.errors


@needs_wrk
def test_puts_that_are_sent_twice_do_not_count() -> None:
    outcome = play(lambda *_: response(200), "put-4k", 5, once=True)
    assert any("did not last" in text for text in outcome.errors)


def test_what_wrk_cannot_play() -> None:
    names = ("head-4k", "mixed-4k", "put-1m", "list-flat-1k")
    assert not any(wrk.can_play(workload(name)) for name in names)
    assert wrk.can_play(workload("put-64k"))


def test_the_result_is_read() -> None:
    text = "TOTAL 3 900 2000000 0.25\nERRORS 0 1 0 0 0\nLATENCY 1500 2\nLATENCY 2500 1\n"
    outcome = read_result(text)
    assert outcome is not None
    assert outcome.latencies == [0.0015, 0.0015, 0.0025]
    assert (outcome.answered, outcome.seconds, outcome.client_seconds) == (3, 2.0, 0.25)
    assert outcome.errors == {"wrk: socket read": 1}
    assert read_result("no such host") is None
