"""What `import` decides by: histories in memory and in files, how far a key is, and the journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.cli.failure import Failure
from holdfast.cli.importing import history, journal
from holdfast.cli.importing.documents import canned_acl
from holdfast.cli.importing.history import History, Standing, Version, side_by_side, standing
from holdfast.cli.importing.journal import Journal, State, Tokens, token_of
from holdfast.cli.importing.parts import parts_of
from holdfast.client import xml


def version(name: str, *, modified: float = 0.0, version_id: str = "") -> Version:
    """A version whose content is its name; "-" is a delete marker."""
    return Version(version_id or name, name == "-", len(name), name, modified)


def history_of(directory: Path, names: str) -> History:
    """Of the versions named by letters, the oldest first."""
    made = History(directory)
    for place, name in reversed(list(enumerate(names))):
        made.add(version(name, version_id=f"{place}"))
    return made


def texts(made: History) -> str:
    return "".join("-" if one.is_marker else one.etag for one in made.oldest_first())


@pytest.mark.parametrize("bound", [1, 3, 1000])
def test_a_history_is_read_back_oldest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: int
) -> None:
    monkeypatch.setattr(history, "VERSIONS_IN_MEMORY_MAX", bound)
    names = "abc-defg-"
    made = history_of(tmp_path, names)
    assert (texts(made), texts(made), made.count) == (names, names, 9)


def test_a_repeated_version_counts_once_and_the_current_one_is_the_newest(tmp_path: Path) -> None:
    made = History(tmp_path)
    made.add(version("b"))
    made.add(version("b"))
    made.add(version("c"), is_latest=True)
    made.add(version("a"))
    assert (texts(made), made.count) == ("abc", 3)


@pytest.mark.parametrize(
    ("source", "target", "begin", "tail"),
    [
        ("abc", "", 0, ""),
        ("abc", "a", 1, ""),
        ("abc", "abc", 3, ""),
        ("aaa", "aa", 2, ""),
        ("a-a", "a-", 2, ""),
        ("bcd", "abc", 2, ""),  # the source has lost its oldest
        ("ac", "abc", 2, ""),  # and one in between
        ("acd", "ab", 1, "b"),  # and the newest that was brought over
        ("a", "ax", 1, "x"),
        ("ab", "x", 0, "x"),
        ("-", "", 0, ""),
    ],
)
def test_how_far_a_key_is(tmp_path: Path, source: str, target: str, begin: int, tail: str) -> None:
    found = standing(
        history_of(tmp_path, source).oldest_first(),
        history_of(tmp_path, target),
        lambda one, other: (one.etag, one.is_marker) == (other.etag, other.is_marker),
    )
    assert (found.begin, found.tail.etag if found.tail else "") == (begin, tail)


def test_a_key_that_the_destination_has_not(tmp_path: Path) -> None:
    ours = history_of(tmp_path, "ab").oldest_first()
    assert standing(ours, None, lambda one, other: True) == Standing(0, None)


def test_side_by_side(tmp_path: Path) -> None:
    async def listing(keys: str) -> AsyncIterator[tuple[str, History]]:
        for key in keys:
            yield key, History(tmp_path)

    async def pairs() -> list[tuple[str, bool, bool]]:
        found = side_by_side(listing("abdé"), listing("bce"))
        return [(key, one is not None, other is not None) async for key, one, other in found]

    assert asyncio.run(pairs()) == [
        ("a", True, False),
        ("b", True, True),
        ("c", False, True),
        ("d", True, False),
        ("e", False, True),
        ("é", True, False),
    ]


def test_tokens_beyond_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "TOKENS_LOOSE_MAX", 10)
    tokens = Tokens()
    assert not tokens
    numbers = [token_of("k", version(str(number))) for number in range(25)]
    for number in numbers:
        tokens.add(number)
    assert all(number in tokens for number in numbers)
    assert token_of("k", version("other")) not in tokens


def test_a_journal_is_read_again_whatever_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    first = Journal(path)
    ours, theirs = version("a"), version("x")
    first.note(begun="made")
    first.note(altered=token_of("k", ours))
    first.note(skipped=token_of("k", version("b")))
    first.note(upload="1", token=1, name="k")
    first.note(upload="2", token=2, name="k")
    first.note(upload_ended=1)
    first.note(document="policy", digest="d")
    first.brought("k", ours, "7", "x")
    first.close()
    with path.open("ab") as file:
        file.write(b'{"altered": 12')

    second = Journal(path)
    assert second.is_begun
    assert (second.uploads, second.documents) == ({2: "2"}, {"policy": "d"})
    assert second.comparer("k")(ours, theirs)
    assert not second.comparer("other")(ours, theirs)
    assert second.has_written("k", Version("7", False, 1, "x", 0.0))
    assert not second.has_written("k", Version("8", False, 1, "x", 0.0))
    wanted = list(second.wanted("k", history_of(tmp_path, "abc")))
    assert [one.etag for one in wanted] == ["a", "b", "c"]  # ids are those of places here
    second.note(altered=99)
    second.close()
    third = Journal(path)
    assert 99 in third.altered
    third.close()


def test_one_run_at_a_time_and_what_was_killed_is_known(tmp_path: Path) -> None:
    first = State(tmp_path, "a:1", "b:2")
    with pytest.raises(Failure, match="running already"):
        State(tmp_path, "a:1", "b:2")
    first.close()  # as when it is killed
    second = State(tmp_path, "a:1", "b:2")
    assert second.was_killed
    second.end()
    second.close()
    third = State(tmp_path, "a:1", "b:2")
    assert not third.was_killed
    third.close()


def test_parts_by_etag() -> None:
    digest = "0" * 32
    assert parts_of(f"{digest}-12") == 12
    assert [parts_of(text) for text in (digest, "", "x-3", f"{digest}-x", f"{digest}-10001")] == [
        0
    ] * 5


def _acl(*grants: tuple[str, str]) -> str | None:
    inner = "".join(
        f"<Grant><Grantee>{grantee}</Grantee><Permission>{permission}</Permission></Grant>"
        for grantee, permission in grants
    )
    text = f"<Owner><ID>me</ID></Owner><AccessControlList>{inner}</AccessControlList>"
    return canned_acl(xml.parse(xml.document("AccessControlPolicy", text)))


def test_acls_that_can_be_said_elsewhere() -> None:
    mine = ("<ID>me</ID>", "FULL_CONTROL")
    group = "<URI>http://acs.amazonaws.com/groups/global/{}</URI>"
    everybody = group.format("AllUsers")
    assert _acl(mine) == "private"
    assert _acl(mine, (everybody, "READ")) == "public-read"
    assert _acl(mine, (everybody, "READ"), (everybody, "WRITE")) == "public-read-write"
    assert _acl(mine, (group.format("AuthenticatedUsers"), "READ")) == "authenticated-read"
    assert _acl(mine, ("<ID>other</ID>", "READ")) is None
    assert _acl(mine, (everybody, "READ_ACP")) is None
