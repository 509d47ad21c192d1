"""Documents are parsed in steps; what comes of one does not depend on where a step ends."""

from __future__ import annotations

import pytest

from holdfast.s3 import xml
from holdfast.s3.errors import S3Error

DOCUMENT = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<TagSet><Tag><Key>träge &amp; ★𝄞</Key><Value>&#x2605;<!-- > --></Value></Tag></TagSet></Tagging>"
)


def leaves(body: bytes) -> list[tuple[str, str | None]]:
    return [(node.tag, node.text) for node in xml.parse(body, "Tagging").iter()]


@pytest.mark.parametrize("chars", [1, 2, 3, 7, 50, len(DOCUMENT) - 1, len(DOCUMENT)])
def test_a_step_ends_anywhere(monkeypatch: pytest.MonkeyPatch, chars: int) -> None:
    monkeypatch.setattr(xml, "PARSE_STEP_CHARS", chars)
    names = [("Tagging", None), ("TagSet", None), ("Tag", None)]
    assert leaves(DOCUMENT.encode()) == [*names, ("Key", "träge & ★𝄞"), ("Value", "★")]
    assert leaves(DOCUMENT.encode("utf-8-sig")) == leaves(DOCUMENT.encode())


@pytest.mark.parametrize("chars", [1, 7, 10_000])
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
