"""How table formats commit, by many writers over two worker processes: none overwrites another.

Delta and Lance create the next version's file, Iceberg's pointer is swapped, a lock is taken and
given back. Each of it by every operation that takes the condition. What was acknowledged must be
there, and what was refused must have changed nothing.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from ..serving import ACCESS_KEY, SECRET_KEY, ServeProcess
from .raw import Answer, Raw, Site

WRITERS = 8
COMMITS = 6  # of each writer
#: a writer that lost so often as all others could win meanwhile, and more, was treated unfairly
TRIES_MAX = 4 * WRITERS * COMMITS
CREATE = {"if-none-match": "*"}
FILE_BYTES = 50_000  # more than is kept in the database

Write = Callable[[Raw, str, bytes, dict[str, str]], Answer]
Act = Callable[[Raw, int], None]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    process = ServeProcess(tmp_path_factory.mktemp("serve"), ("--workers", "2"), {})
    process.start()
    try:
        yield Site(process.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY)
    finally:
        process.destroy()


@pytest.fixture(scope="module")
def raw(site: Site) -> Iterator[Raw]:
    with Raw(site) as client:
        yield client


@pytest.fixture(scope="module")
def new_bucket(raw: Raw) -> Callable[[], str]:
    numbers = itertools.count()

    def make() -> str:
        name = f"loop-{next(numbers)}"
        assert raw("PUT", f"/{name}").status == 200
        return name

    return make


@pytest.fixture
def writers(site: Site) -> Iterator[Callable[[Act], None]]:
    """writers(act): `act(client, number)` by every writer, each with a connection of its own."""
    with ThreadPoolExecutor(WRITERS) as pool, ExitStack() as stack:
        clients = [stack.enter_context(Raw(site)) for _ in range(WRITERS)]

        def run(act: Act) -> None:
            list(pool.map(act, clients, range(WRITERS)))

        yield run


def put(client: Raw, path: str, body: bytes, condition: dict[str, str]) -> Answer:
    return client("PUT", path, headers=condition, body=body)


def put_file(client: Raw, path: str, body: bytes, condition: dict[str, str]) -> Answer:
    return client("PUT", path, headers=condition, body=body.ljust(FILE_BYTES))


def complete(client: Raw, path: str, body: bytes, condition: dict[str, str]) -> Answer:
    upload = f"uploadId={client('POST', path, 'uploads').text('UploadId')}"
    etag = client("PUT", path, f"partNumber=1&{upload}", body=body).headers["etag"]
    part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
    parts = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
    answer = client("POST", path, upload, condition, parts)
    if answer.status != 200:  # a refused one can still be aborted
        assert client("DELETE", path, upload).status == 204
    return answer


def copy(client: Raw, path: str, body: bytes, condition: dict[str, str]) -> Answer:
    staged = stage(client, path, body)
    answer = client("PUT", path, headers={"x-amz-copy-source": staged, **condition})
    assert client("DELETE", staged).status == 204
    return answer


def rename(client: Raw, path: str, body: bytes, condition: dict[str, str]) -> Answer:
    staged = stage(client, path, body)
    source = {"x-amz-rename-source": f"/{staged.split('/', 2)[2]}"}
    answer = client("PUT", path, "renameObject", source | condition)
    assert client("HEAD", staged).status == (404 if answer.status == 200 else 200)
    return answer


def stage(client: Raw, path: str, body: bytes) -> str:
    """The path of an object with these bytes that is nobody else's."""
    staged = f"/{path.split('/')[1]}/staged/{hashlib.md5(body).hexdigest()}"
    assert client("PUT", staged, body=body).status == 200
    return staged


WRITES = [put, put_file, complete, copy, rename]


@pytest.mark.parametrize("write", WRITES, ids=lambda w: w.__name__)
def test_each_version_is_committed_once(
    raw: Raw, bucket: str, writers: Callable[[Act], None], write: Write
) -> None:
    """Delta's and Lance's log: version N + 1 is made by exactly one, and there is no gap."""
    committed: list[tuple[int, bytes]] = []

    def act(client: Raw, writer: int) -> None:
        version = 0
        for number in range(COMMITS):
            body = f"{writer} {number}".encode()
            for _ in range(TRIES_MAX):
                version += 1
                answer = write(client, f"/{bucket}/log/{version:06}.json", body, CREATE)
                if answer.status == 200:
                    committed.append((version, body))
                    break
                assert (answer.status, answer.code) == (412, "PreconditionFailed")
            else:
                pytest.fail("never first")

    writers(act)
    versions = range(1, WRITERS * COMMITS + 1)
    assert sorted(version for version, _ in committed) == list(versions)
    listed = raw("GET", f"/{bucket}", "list-type=2&prefix=log/").texts("Contents/Key")
    assert listed == [f"log/{version:06}.json" for version in versions]
    for version, body in committed:
        assert raw("GET", f"/{bucket}/log/{version:06}.json").body.rstrip() == body


@pytest.mark.parametrize("write", WRITES, ids=lambda w: w.__name__)
def test_no_swap_is_lost(
    raw: Raw, bucket: str, writers: Callable[[Act], None], write: Write
) -> None:
    """Iceberg's pointer: who read the current one may replace it; a counter shows lost updates."""
    swap(raw, bucket, writers, write)


@pytest.mark.parametrize("write", [put, complete], ids=lambda w: w.__name__)
def test_each_swap_is_a_version(
    raw: Raw, bucket: str, writers: Callable[[Act], None], write: Write
) -> None:
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert raw("PUT", f"/{bucket}", "versioning", body=body).status == 200
    path = swap(raw, bucket, writers, write)
    ids = raw("GET", f"/{bucket}", "versions").texts("Version/VersionId")
    bodies = [raw("GET", path, f"versionId={name}").body for name in reversed(ids)]
    assert [int(body.split()[0]) for body in bodies] == list(range(WRITERS * COMMITS + 1))


def swap(raw: Raw, bucket: str, writers: Callable[[Act], None], write: Write) -> str:
    """All writers raise the counter, each COMMITS times; its path."""
    path = f"/{bucket}/pointer"
    assert raw("PUT", path, body=b"0 by nobody").status == 200

    def act(client: Raw, writer: int) -> None:
        for _ in range(COMMITS):
            for _ in range(TRIES_MAX):
                current = client("GET", path)
                count = int(current.body.split()[0])
                match = {"if-match": current.headers["etag"]}
                answer = write(client, path, f"{count + 1} by {writer}".encode(), match)
                if answer.status == 200:
                    break
                assert (answer.status, answer.code) == (412, "PreconditionFailed")
            else:
                pytest.fail("always too late")

    writers(act)
    assert raw("GET", path).body.split()[0] == str(WRITERS * COMMITS).encode()
    return path


def delete(client: Raw, path: str, etag: str) -> bool:
    answer = client("DELETE", path, headers={"if-match": etag})
    assert answer.status == 204 or answer.code in ("PreconditionFailed", "NoSuchKey")
    return answer.status == 204


def delete_many(client: Raw, path: str, etag: str) -> bool:
    _, bucket, key = path.split("/", 2)
    entry = f"<Object><Key>{key}</Key><ETag>{etag}</ETag></Object>"
    body = f"<Delete>{entry}</Delete>".encode()
    md5 = {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    answer = client("POST", f"/{bucket}", "delete", md5, body)
    assert answer.status == 200
    if answer.texts("Deleted/Key") == [key]:
        return True
    assert answer.text("Error/Code") in ("PreconditionFailed", "NoSuchKey")
    return False


Delete = Callable[[Raw, str, str], bool]
both_deletes = pytest.mark.parametrize("remove", [delete, delete_many], ids=lambda d: d.__name__)


@both_deletes
def test_a_lock_keeps_others_out(
    raw: Raw, bucket: str, writers: Callable[[Act], None], remove: Delete
) -> None:
    """Taken by `If-None-Match: *`, given back by If-Match: a counter beside it, written without any
    condition, loses nothing."""
    lock, counter = f"/{bucket}/lock", f"/{bucket}/counter"
    assert raw("PUT", counter, body=b"0").status == 200

    def act(client: Raw, writer: int) -> None:
        for number in range(COMMITS):
            mine = f"{writer} {number}".encode()
            for _ in range(100 * TRIES_MAX):
                taken = client("PUT", lock, headers=CREATE, body=mine)
                if taken.status == 200:
                    break
                assert taken.code == "PreconditionFailed"
                # of another's lock nobody gets rid with his own ETag
                assert not remove(client, lock, f'"{hashlib.md5(mine).hexdigest()}"')
            else:
                pytest.fail("never got the lock")
            count = int(client("GET", counter).body)
            assert client("PUT", counter, body=str(count + 1).encode()).status == 200
            assert remove(client, lock, taken.headers["etag"])

    writers(act)
    assert raw("GET", counter).body == str(WRITERS * COMMITS).encode()
    assert raw("HEAD", lock).status == 404


@both_deletes
def test_a_version_is_replaced_or_deleted_by_one(
    raw: Raw, bucket: str, writers: Callable[[Act], None], remove: Delete
) -> None:
    """Half of those who saw the same version replace it, the others delete it: one of all wins."""
    etags = [raw("PUT", f"/{bucket}/{n}", body=b"first").headers["etag"] for n in range(COMMITS)]
    won: Counter[int] = Counter()

    def act(client: Raw, writer: int) -> None:
        for number, etag in enumerate(etags):
            path = f"/{bucket}/{number}"
            if writer % 2:
                done = remove(client, path, etag)
            else:
                answer = put(client, path, b"second", {"if-match": etag})
                assert answer.status == 200 or answer.code in ("PreconditionFailed", "NoSuchKey")
                done = answer.status == 200
            won[number] += done

    writers(act)
    assert won == dict.fromkeys(range(COMMITS), 1)
    for number in range(COMMITS):
        answer = raw("GET", f"/{bucket}/{number}")
        assert answer.body == b"second" or answer.code == "NoSuchKey"
