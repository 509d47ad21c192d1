"""Documents are parsed in steps; what comes of one does not depend on where a step ends."""

from __future__ import annotations

import asyncio
import threading
from xml.etree import ElementTree

import pytest

from holdfast.s3 import xml
from holdfast.s3.errors import S3Error

DOCUMENT = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<TagSet><Tag><Key>träge &amp; ★𝄞</Key><Value>&#x2605;<!-- > --></Value></Tag></TagSet></Tagging>"
)


def leaves(body: bytes) -> list[tuple[str, str | None]]:
    return [(node.tag, node.text) for node in xml.parse(body, "Tagging").iter()]


@pytest.mark.parametrize("chars", [75, 76, 77, 99, len(DOCUMENT) - 1, len(DOCUMENT)])
def test_a_step_ends_anywhere(monkeypatch: pytest.MonkeyPatch, chars: int) -> None:
    monkeypatch.setattr(xml, "PARSE_STEP_CHARS", chars)
    names = [("Tagging", None), ("TagSet", None), ("Tag", None)]
    assert leaves(DOCUMENT.encode()) == [*names, ("Key", "träge & ★𝄞"), ("Value", "★")]
    assert leaves(DOCUMENT.encode("utf-8-sig")) == leaves(DOCUMENT.encode())


@pytest.mark.parametrize("chars", [8, 10_000])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<Tagging>",
        b"<Tagging></Tag>",
        b"<Tagging/><Tagging/>",
        b"<Tagging/>x",
        b"<Tagging>\xff</Tagging>",
        b"<Tagging>\x00</Tagging>",
        b"<Tagging>&x;</Tagging>",
        b"<!DOCTYPE Tagging><Tagging/>",
        b"<TagSet/>",
    ],
)
def test_what_is_no_document_is_none_in_steps(
    monkeypatch: pytest.MonkeyPatch, chars: int, body: bytes
) -> None:
    monkeypatch.setattr(xml, "PARSE_STEP_CHARS", chars)
    with pytest.raises(S3Error) as refused:
        xml.parse(body, "Tagging")
    assert refused.value.code == "MalformedXML"


def test_tags_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml, "TAGS_MAX", 6)
    assert len(xml.parse(b"<Tagging><a></a><a></a></Tagging>", "Tagging")) == 2
    with pytest.raises(S3Error):
        xml.parse(b"<Tagging><a></a><a></a><a/></Tagging>", "Tagging")


@pytest.mark.parametrize(
    "stretch",
    [
        " ".join(f'a{number}=">"' for number in range(20_000)),
        f"a='{'x' * 200_000}'",
        f"><Key>{'k' * 200_000}</Key><Value",
    ],
)
def test_a_tag_or_text_longer_than_any_of_s3_is_refused(stretch: str) -> None:
    whole = f"<Tagging {stretch}/>" if "<" not in stretch else f"<Tagging{stretch}/></Tagging>"
    ElementTree.fromstring(whole)
    with pytest.raises(S3Error) as refused:
        xml.parse(whole.encode(), "Tagging")
    assert refused.value.code == "MalformedXML"


def test_a_long_document_is_understood_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def work(body: bytes) -> int:
        threads.append(threading.get_ident())
        return len(body)

    async def ask() -> list[int]:
        return [await xml.understood(work, b"x" * count) for count in (10, 11)]

    monkeypatch.setattr(xml, "XML_BODY_BYTES_MAX", 10)
    assert asyncio.run(ask()) == [10, 11]
    assert threads[0] == threading.get_ident() != threads[1]
