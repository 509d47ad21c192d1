"""What other servers do differently: pages sorted by kind, and operations that demand an MD5."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from holdfast.client import RawResponse, listing, xml
from holdfast.client.address import Request
from holdfast.client.operations import Operations
from holdfast.client.session import Session


class Scripted:
    """A session that answers with one body, and keeps the request."""

    def __init__(self, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self._answer = RawResponse(200, headers or {}, body)
        self.requests: list[Request] = []

    async def fetch(self, request: Request) -> RawResponse:
        self.requests.append(request)
        return self._answer


def _page(entries: str, server: str = "") -> list[str]:
    """`entries`: key, number of the second, "-" for a delete marker, "*" for the current version."""
    inner = ""
    for text in entries.split():
        kind = "DeleteMarker" if "-" in text else "Version"
        inner += (
            f"<{kind}>{xml.element('Key', text[0])}{xml.element('VersionId', text[:2])}"
            f"<IsLatest>{'true' if '*' in text else 'false'}</IsLatest>"
            f"<LastModified>2026-01-01T00:00:0{text[1]}.000Z</LastModified></{kind}>"
        )
    body = xml.document("ListVersionsResult", inner)
    session = cast(Session, Scripted(body, {"server": server}))
    page = asyncio.run(listing.versions_page(session, "b", "", "", [], None))
    return [entry.version_id for entry in page.entries]


def test_a_page_sorted_by_kind_comes_in_the_order_of_keys_newest_first() -> None:
    assert _page("a2- b3-* a3* a1 b2 b1 c1*") == ["a3", "a2", "a1", "b3", "b2", "b1", "c1"]
    assert _page("a1 b2 a2-* b3-*") == ["a2", "a1", "b3", "b2"]
    assert _page("a2- a3* a1", "VERSITYGW") == ["a3", "a2", "a1"]


def test_a_page_in_order_stays_as_it_is() -> None:
    """Times may be those of the beginning of an upload, so they don't decide."""
    assert _page("a1* a2- b1*") == ["a1", "a2", "b1"]
    assert _page("a1* a3 b2-* c1*") == ["a1", "a3", "b2", "c1"]


def _sent(**arguments: Any) -> dict[str, str]:
    session = Scripted()
    operations = Operations(cast(Session, session))
    asyncio.run(operations.request("PUT", "b", **arguments))
    return dict(session.requests[0].headers or {})


def test_a_body_has_its_md5_unless_there_is_a_checksum() -> None:
    assert _sent(body=b"abc") == {"content-md5": "kAFQmDzST7DWlj99KOF/cg=="}
    assert _sent() == {}
    for headers in ({"Content-MD5": "x"}, {"x-amz-checksum-crc32": "x"}):
        assert _sent(body=b"abc", headers=headers) == {n.lower(): v for n, v in headers.items()}
