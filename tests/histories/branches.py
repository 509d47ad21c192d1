"""The states that may follow when operations were sent at once, or their answers were lost.

Rule: every order of the operations is tried on every state, an operation without an answer both as
done and as not done; what does not agree with the answers that came is no possible state.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from tests.histories.model import UNKNOWN_PREFIX, Expected, Made, Mismatch, State
from tests.histories.operations import DeleteMany, Operation, deleted_entries, perform
from tests.histories.uploads import CreateUpload
from tests.s3.raw import Answer

BRANCHES_MAX = 200

#: an operation and its answer, None when it was lost
Attempt = tuple[Operation, Answer | None]


def advance(
    states: list[State], attempts: list[Attempt], unknown_ids: Iterator[int]
) -> list[State]:
    """All states after the operations. Raises Mismatch when there is none, or too many."""
    found: list[State] = []
    problems: list[str] = []
    for order in itertools.permutations(attempts):
        for state in states:
            after = _after(state, order, unknown_ids, problems)
            found += [one for one in after if one not in found]
    if not found:
        raise Mismatch("; or ".join(dict.fromkeys(problems)))
    if len(found) > BRANCHES_MAX:
        raise Mismatch(f"{len(found)} states are possible: too many to follow")
    return found


def _after(
    state: State, order: Iterable[Attempt], unknown_ids: Iterator[int], problems: list[str]
) -> list[State]:
    """The states after the operations in this order; why others are none is added to `problems`."""
    states = [state]
    for op, answer in order:
        following: list[State] = []
        for one in states:
            if answer is None:
                following += _maybe(one, op, unknown_ids)
                continue
            try:
                after, expected = perform(op, one, _made_by(op, answer))
                _check(op, expected, answer)
            except Mismatch as mismatch:
                problems.append(str(mismatch))
            else:
                following.append(after)
        states = following
    return states


def _maybe(state: State, op: Operation, unknown_ids: Iterator[int]) -> list[State]:
    """The states when it is unknown whether `op` was carried out; many deletes may have come
    apart."""
    states = [state]
    for part in op.alone() if isinstance(op, DeleteMany) else [op]:
        made = _stand_in(f"{UNKNOWN_PREFIX}{next(unknown_ids)}")
        for one in list(states):
            after, _ = perform(part, one, made)
            if after not in states:
                states.append(after)
    return states


def code_of(answer: Answer) -> str:
    return answer.code if answer.status >= 300 else ""


def _stand_in(name: str) -> Made:
    return lambda key: name


def _made_by(op: Operation, answer: Answer) -> Made:
    """The ids that the server gave."""
    if isinstance(op, CreateUpload):
        return lambda key: answer.text("UploadId")
    if isinstance(op, DeleteMany):
        rows = [row for row in deleted_entries(answer) if len(row) == 4 and not row[1]]
        made = {row[0]: row[3] for row in rows}
        return lambda key: made.get(key, "")
    return lambda key: answer.headers.get("x-amz-version-id", "")


def _check(op: Operation, expected: Expected, answer: Answer) -> None:
    """Raises Mismatch when the answer is another one."""
    if (answer.status, code_of(answer)) != (expected.status, expected.code):
        raise Mismatch(
            f"{op} answered {answer.status} {code_of(answer)}, "
            f"expected {expected.status} {expected.code}"
        )
    if expected.code:
        return
    if isinstance(op, CreateUpload) and not answer.text("UploadId"):
        raise Mismatch(f"{op} answered no upload id")
    for name, value in expected.headers.items():
        seen = answer.headers.get(name)
        if seen != value or value == "":
            raise Mismatch(f"{op} answered {name} {seen!r}, expected {value!r}")
    if expected.etag and answer.text("ETag").strip('"') != expected.etag:
        raise Mismatch(f"{op} answered the ETag {answer.text('ETag')}, expected {expected.etag}")
    if isinstance(op, DeleteMany):
        rows = frozenset(deleted_entries(answer))
        if rows != expected.entries:
            raise Mismatch(f"{op} answered {sorted(rows)}, expected {sorted(expected.entries)}")
