"""Many at once: whole winners, exactly one first, and content that no delete takes from another."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from typing import TypeVar

import pytest

from holdfast.testing.server import Server

from ..serving import ACCESS_KEY, SECRET_KEY, ServeProcess
from .raw import Raw, Site
from .test_objects import noise

T = TypeVar("T")
WRITERS = 8
ROUNDS = 12
SIZES = [1000, 200_000]


@pytest.fixture(scope="module", params=["one process", "two workers"])
def site(request: pytest.FixtureRequest, s3_server: Server) -> Iterator[Server | Site]:
    """The races inside one loop, and those between processes, at full durability."""
    if request.param == "one process":
        yield s3_server
        return
    directory = request.getfixturevalue("tmp_path_factory").mktemp("serve")
    process = ServeProcess(directory, ("--workers", "2"), {})
    process.start()
    try:
        yield Site(process.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY)
    finally:
        process.destroy()


@pytest.fixture(scope="module")
def raw(site: Server | Site) -> Iterator[Raw]:
    with Raw(site) as client:
        yield client


@pytest.fixture(scope="module")
def new_bucket(raw: Raw) -> Callable[[], str]:
    numbers = itertools.count()

    def make() -> str:
        name = f"race-{next(numbers)}"
        assert raw("PUT", f"/{name}").status == 200
        return name

    return make


@pytest.fixture
def together(site: Server | Site) -> Iterator[Callable[[Callable[[Raw, int], T]], list[T]]]:
    """together(act): `act(client, n)` in WRITERS threads at the same moment; their results."""
    with ThreadPoolExecutor(WRITERS) as pool, ExitStack() as stack:
        clients = [stack.enter_context(Raw(site)) for _ in range(WRITERS)]

        def run(act: Callable[[Raw, int], T]) -> list[T]:
            barrier = Barrier(WRITERS)

            def one(number: int) -> T:
                barrier.wait()
                return act(clients[number], number)

            return list(pool.map(one, range(WRITERS)))

        yield run


Together = Callable[[Callable[[Raw, int], T]], list[T]]


@pytest.mark.parametrize("size", SIZES)
def test_racing_writers_leave_one_whole(
    raw: Raw, bucket: str, together: Together[int], size: int
) -> None:
    bodies = [noise(size + n, n) for n in range(WRITERS)]
    for _ in range(ROUNDS):
        statuses = together(lambda client, n: client("PUT", f"/{bucket}/k", body=bodies[n]).status)
        assert statuses == [200] * WRITERS
        got = raw("GET", f"/{bucket}/k")
        assert got.body in bodies
        listed = raw("GET", f"/{bucket}")
        assert listed.texts("Contents/Size") == [str(len(got.body))]
        assert listed.texts("Contents/ETag") == [got.headers["etag"]]


@pytest.mark.parametrize("size", SIZES)
def test_readers_see_one_or_the_other(
    raw: Raw, bucket: str, together: Together[bool], size: int
) -> None:
    bodies = [noise(size + n, n) for n in range(WRITERS)]
    raw("PUT", f"/{bucket}/k", body=bodies[0])

    def act(client: Raw, number: int) -> bool:
        if number % 2:
            return client("PUT", f"/{bucket}/k", body=bodies[number]).status == 200
        answer = client("GET", f"/{bucket}/k")
        return answer.body in bodies and answer.headers["content-length"] == str(len(answer.body))

    for _ in range(ROUNDS):
        assert all(together(act))


@pytest.mark.parametrize("size", SIZES)
def test_exactly_one_is_first(raw: Raw, bucket: str, together: Together[int], size: int) -> None:
    bodies = [noise(size, n) for n in range(WRITERS)]
    for round_number in range(ROUNDS):
        path = f"/{bucket}/{round_number}"
        statuses = together(
            lambda client, n, path=path: (
                client(  # type: ignore[misc]
                    "PUT", path, headers={"if-none-match": "*"}, body=bodies[n]
                ).status
            )
        )
        assert sorted(statuses) == [200] + [412] * (WRITERS - 1)
        assert raw("GET", path).body == bodies[statuses.index(200)]


def test_exactly_one_replaces(raw: Raw, bucket: str, together: Together[int]) -> None:
    """Compare and swap: of those who read the same version, one may write."""
    path = f"/{bucket}/counter"
    etag = raw("PUT", path, body=b"0").headers["etag"]
    for round_number in range(ROUNDS):
        statuses = together(
            lambda client, n, etag=etag, r=round_number: (
                client(  # type: ignore[misc]
                    "PUT", path, headers={"if-match": etag}, body=f"{r} {n}".encode()
                ).status
            )
        )
        assert sorted(statuses) == [200] + [412] * (WRITERS - 1)
        winner = raw("GET", path)
        assert winner.body == f"{round_number} {statuses.index(200)}".encode()
        etag = winner.headers["etag"]


@pytest.mark.parametrize("size", SIZES)
def test_a_delete_takes_nothing_from_an_upload_of_the_same_content(
    raw: Raw, bucket: str, together: Together[int], size: int
) -> None:
    """One content, many keys: some go while others come."""
    for round_number in range(ROUNDS):
        data = noise(size, round_number % 3)

        def act(client: Raw, number: int, data: bytes = data) -> int:
            path = f"/{bucket}/{number}"
            if number % 2:
                return client("PUT", path, body=data).status
            client("PUT", path, body=data)
            return client("DELETE", path).status

        assert together(act) == [204, 200] * (WRITERS // 2)
        for number in range(WRITERS):
            answer = raw("GET", f"/{bucket}/{number}")
            assert (answer.body == data) if number % 2 else (answer.code == "NoSuchKey")


def test_copies_while_the_source_goes(raw: Raw, bucket: str, together: Together[int]) -> None:
    for round_number in range(ROUNDS):
        data = noise(200_000, round_number)
        raw("PUT", f"/{bucket}/source", body=data)

        def act(client: Raw, number: int) -> int:
            if number == 0:
                return client("DELETE", f"/{bucket}/source").status
            headers = {"x-amz-copy-source": f"/{bucket}/source"}
            return client("PUT", f"/{bucket}/copy{number}", headers=headers).status

        statuses = together(act)
        for number, status in enumerate(statuses[1:], 1):
            answer = raw("GET", f"/{bucket}/copy{number}")
            assert status in (200, 404)
            assert (answer.body == data) if status == 200 else (answer.code == "NoSuchKey")
            raw("DELETE", f"/{bucket}/copy{number}")


def test_one_bucket_is_made_once(raw: Raw, together: Together[int]) -> None:
    statuses = together(lambda client, n: client("PUT", "/raced-for").status)
    assert statuses == [200] * WRITERS
    assert raw("GET", "/").texts("Buckets/Bucket/Name").count("raced-for") == 1
    deleted = together(lambda client, n: client("DELETE", "/raced-for").status)
    assert sorted(deleted) == [204] + [404] * (WRITERS - 1)


def test_an_acl_is_put_while_the_object_is_replaced(raw: Raw, together: Together[int]) -> None:
    """The key is never without an object, so neither is the request for its ACL."""
    headers = {"x-amz-object-ownership": "ObjectWriter"}
    assert raw("PUT", "/race-acl", headers=headers).status == 200
    assert raw("PUT", "/race-acl/k", body=b"first").status == 200

    def write(client: Raw, number: int) -> int:
        if number % 2:
            return client("PUT", "/race-acl/k", body=f"{number}".encode()).status
        return client("PUT", "/race-acl/k", "acl", {"x-amz-acl": "bucket-owner-read"}).status

    for _ in range(2 * ROUNDS):
        assert together(write) == [200] * WRITERS
