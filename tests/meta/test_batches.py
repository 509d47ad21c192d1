"""What shares a transaction: the commands that wait, and those that arrive while it is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.meta.commands import CreateBucket, ObjectPut
from holdfast.meta.sqlite import committer
from holdfast.meta.sqlite.committer import Committer, Waiting
from holdfast.meta.sqlite.wire import Failed
from tests.meta.raw import RawClient, frame
from tests.meta.running import OWNER, Running, put

FIRST, SECOND = b"1" * 16, b"2" * 16


class Poisoned(Committer):
    """Fails on the key `poison`."""

    def _decide(self, batch: list[Waiting], decided: list[Waiting], *, full: bool) -> bool:
        changed = super()._decide(batch, decided, full=full)
        if any(getattr(one.command, "key", b"") == b"poison" for one in batch):
            raise ValueError("poison")
        return changed


class Late:
    """Two clients, and what is to be sent when the next transaction has begun."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], None]] = []

    def now_us(self) -> int:
        while self.steps:
            self.steps.pop()()
        return time.time_ns() // 1000

    @contextmanager
    def running(
        self, directory: Path, kind: type[Committer] = Committer
    ) -> Iterator[tuple[Running, RawClient, RawClient, int]]:
        """A committer, two clients whose next command is their second, and a bucket."""
        with Running(directory, kind, now_us=self.now_us) as running:
            first, second = RawClient(directory, FIRST), RawClient(directory, SECOND)
            made = first.ask(1, CreateBucket("bucket", OWNER, "us-east-1"))
            bucket_id = made.bucket.id  # type: ignore[union-attr]
            second.ask(1, put(bucket_id, b"greeted", b"x"))
            yield running, first, second, bucket_id
            first.close()
            second.close()


def test_what_arrives_meanwhile_shares_the_commit(tmp_path: Path) -> None:
    late = Late()
    with late.running(tmp_path) as (running, first, second, bucket_id):
        commits = running.counters.commits
        late.steps.append(lambda: second.send(frame(2, put(bucket_id, b"b", b"x"))))
        assert isinstance(first.ask(2, put(bucket_id, b"a", b"x")), ObjectPut)
        number, answer = second.answer()
        assert (number, type(answer)) == (2, ObjectPut)
        assert running.counters.commits == commits + 1


def test_a_late_command_that_fails_takes_none_with_it(tmp_path: Path) -> None:
    late = Late()
    with late.running(tmp_path, Poisoned) as (running, first, second, bucket_id):
        late.steps.append(lambda: second.send(frame(2, put(bucket_id, b"poison", b"x"))))
        assert isinstance(first.ask(2, put(bucket_id, b"a", b"x")), ObjectPut)
        assert isinstance(second.answer()[1], Failed)
        assert running.run(running.meta.find(bucket_id, b"a")) is not None
        assert running.run(running.meta.find(bucket_id, b"poison")) is None


def test_late_commands_keep_to_the_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "BATCH_COMMANDS_MAX", 2)
    late = Late()
    with late.running(tmp_path) as (running, first, second, bucket_id):
        commits = running.counters.commits
        many = b"".join(frame(2 + n, put(bucket_id, b"b%d" % n, b"x")) for n in range(5))
        late.steps.append(lambda: second.send(many))
        assert isinstance(first.ask(2, put(bucket_id, b"a", b"x")), ObjectPut)
        assert [second.answer()[0] for _ in range(5)] == [2, 3, 4, 5, 6]
        assert running.counters.commits == commits + 3


def test_a_stop_in_a_late_round_is_kept(tmp_path: Path) -> None:
    late = Late()
    with late.running(tmp_path) as (running, first, _, bucket_id):
        late.steps.append(running.committer.stop)
        assert isinstance(first.ask(2, put(bucket_id, b"a", b"x")), ObjectPut)
        running.thread.join(10)
        assert not running.thread.is_alive()
