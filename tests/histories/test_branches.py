"""The model's own arithmetic: which states may follow lost answers and races."""

from __future__ import annotations

import itertools

import pytest

from tests.histories.branches import Attempt, advance
from tests.histories.model import PLAIN, Conditions, Content, Mismatch, State, Version
from tests.histories.operations import Delete, DeleteMany, Put
from tests.s3.raw import Answer

ONE, TWO = Content.of(b"one"), Content.of(b"two")
ENABLED = State("Enabled")
WRONG = Conditions(if_match="0" * 32)


def put(content: Content, conditions: Conditions = WRONG) -> Put:
    return Put("k", content, PLAIN, conditions)


def answered(content: Content, version_id: str = "") -> Answer:
    headers = {"etag": f'"{content.etag}"'}
    return Answer(200, headers | ({"x-amz-version-id": version_id} if version_id else {}), b"")


def refused(status: int, code: str) -> Answer:
    return Answer(status, {}, f"<Error><Code>{code}</Code></Error>".encode())


def after(state: State, *attempts: Attempt) -> list[State]:
    return advance([state], list(attempts), itertools.count())


def test_a_lost_write_may_or_may_not_be_there() -> None:
    states = after(ENABLED, (put(ONE, Conditions()), None))
    assert [len(state.versions("k")) for state in states] == [0, 1]


def test_an_answer_tells_whether_the_lost_write_beside_it_was_done() -> None:
    lost: Attempt = (put(ONE, Conditions()), None)
    (state,) = after(ENABLED, lost, (put(TWO), refused(412, "PreconditionFailed")))
    assert [version.content for version in state.versions("k")] == [ONE]
    states = after(ENABLED, lost, (put(TWO), refused(404, "NoSuchKey")))
    assert [len(state.versions("k")) for state in states] == [0, 1]


def test_racing_writes_leave_either_order() -> None:
    first: Attempt = (put(ONE, Conditions()), answered(ONE, "id1"))
    second: Attempt = (put(TWO, Conditions()), answered(TWO, "id2"))
    states = after(ENABLED, first, second)
    found = [[version.id for version in state.versions("k")] for state in states]
    assert found == [["id2", "id1"], ["id1", "id2"]]


def test_two_can_not_both_be_first() -> None:
    create = Conditions(if_none_match="*")
    first: Attempt = (put(ONE, create), answered(ONE))
    with pytest.raises(Mismatch, match="expected 412"):
        after(State(), first, (put(TWO, create), answered(TWO)))
    (state,) = after(State(), first, (put(TWO, create), refused(412, "PreconditionFailed")))
    assert [version.content for version in state.versions("k")] == [ONE]


def test_lost_deletes_may_come_apart() -> None:
    keys = ("a", "b", "c")
    state = State(keys={key: (Version("null", ONE),) for key in keys})
    states = after(state, (DeleteMany(tuple(Delete(key) for key in keys)), None))
    assert {frozenset(one.keys) for one in states} == {
        frozenset(left) for count in range(4) for left in itertools.combinations(keys, count)
    }
