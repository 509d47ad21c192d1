"""However the byte stream is cut, the answers are the same; and no bytes hang or break a server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.http.limits import Limits
from holdfast.http.message import Request, Response
from tests.http.site import Site, chunked, echo, get, put


async def by_path(request: Request) -> Response:
    """Answers in each of the ways that a handler can: at once, late, reading, not reading."""
    if request.path == "/late":
        await asyncio.sleep(0)
    if request.path == "/unread":
        return Response(200, [], b"unread")
    if request.path == "/fill":
        buffer, total = bytearray(10), b""
        while True:
            count = await request.body.fill(memoryview(buffer))
            total += buffer[:count]
            if count < len(buffer):
                return Response(200, [], total)
    return await echo(request)


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    new_loop = asyncio.new_event_loop
    if request.param == "uvloop":
        new_loop = pytest.importorskip("uvloop").new_event_loop
    limits = Limits(read_ahead_bytes_max=64, pipelined_per_turn_max=3, join_bytes_max=8)
    site = Site(new_loop, by_path, limits)
    yield site
    site.close()
    assert site.problems == []


REQUESTS = [
    get("/a?b"),
    get("/late"),
    put(b"", path="/fill"),
    put(b"0123456789" * 3, path="/fill"),
    put(b"x" * 150, path="/late"),
    put(b"GET / HTTP/1.1\r\nHost: smuggled\r\n\r\n", path="/unread"),
    chunked(b"GET / HTTP/1.1\r\nHost: smuggled\r\n\r\n", path="/unread"),
    chunked(b"abc", b"d" * 70, path="/fill"),
    chunked(path="/fill"),
    chunked(b"abc", b"d" * 20, path="/late"),
]

_settings = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def expected_body(request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n")[0].split(b" ")
    path, _, query = target.partition(b"?")
    if b"chunked" in head:
        data = b""
        while not body.startswith(b"0\r\n"):
            size, _, body = body.partition(b"\r\n")
            data += body[: int(size, 16)]
            body = body[int(size, 16) + 2 :]
        body = data
    if path == b"/unread":
        return b"unread"
    if path == b"/fill":
        return body
    return b"%b %b %b\n%b" % (method, path, query, body)


@_settings
@given(
    chosen=st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 1500), max_size=12),
)
def test_splits_make_no_difference(site: Site, chosen: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(chosen)
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    with site.connect() as client:
        for start, end in itertools.pairwise(bounds):
            client.send(stream[start:end])
        for request in chosen:
            answer = client.answer()
            assert (answer.status, answer.body) == (200, expected_body(request))


_LINES = (
    "GET / HTTP/1.1\r\n|PUT /fill HTTP/1.1\r\n|PUT /unread HTTP/1.0\r\n|Host: h\r\n"
    "|\r\n|\n|\r|abc| |:|\0"
    "|Content-Length: 3\r\n|Transfer-Encoding: chunked\r\n|Expect: 100-continue\r\n"
    "|3\r\nabc\r\n|0\r\n\r\n|-1\r\n"
)
_TOKENS = st.sampled_from([line.encode() for line in _LINES.split("|")])


@_settings
@given(st.lists(st.one_of(_TOKENS, st.binary(max_size=4)), max_size=14))
def test_any_bytes_are_answered_or_closed(site: Site, pieces: list[bytes]) -> None:
    with site.connect() as client:
        try:
            for piece in pieces:
                client.send(piece)
            client.sock.shutdown(1)
            data = client.rest()
        except ConnectionError:
            data = b""
    assert data == b"" or data.startswith(b"HTTP/1.1 ")
    site.until(lambda: not site.server.connections)
