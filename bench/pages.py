"""Pages of listings: what is put into the buckets, what is asked for, and what must come back.

A bucket is filled once and used again, so its name tells how many keys it has. Keys hold 16 bytes.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bench.endpoint import Endpoint, EndpointError
from bench.fill import Say, fill, is_filled
from bench.load import Expectation, Request
from bench.requests import Objects, folder_key
from bench.sign import canonical_query

PAGE_KEYS_MAX = 1000
KEY_OBJECT_BYTES = 16
DEEP_FOLDER_KEYS = 100
VERSIONS_PER_KEY = 5
FLAT = ("list-type", "2")
VERSIONS = ("versions", "")
AT_ROOT = ("delimiter", "/")
_TARGETS_MAX = 1000
_DEEP_LEVELS = 6
_VERSIONING = (
    b'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Status>Enabled</Status></VersioningConfiguration>"
)

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Row:
    """A kind of request: where it goes, its queries, and what the first of them must name.

    names: the keys or common prefixes of the first page; empty for HEAD. The pages behind have as many.
    """

    title: str
    method: str
    targets: list[tuple[str, Pairs]]
    names: list[str]
    of_prefixes: bool = False

    def requests(self, endpoint: Endpoint) -> Iterator[Request]:
        signer = endpoint.signer()
        heads = [
            (signer.head(self.method, path, canonical_query(pairs)),)
            for path, pairs in self.targets
        ]
        return itertools.cycle(heads)

    def expectation(self) -> Expectation:
        if self.method == "HEAD":
            return Expectation(no_body=True)
        marker = b"<CommonPrefixes>" if self.of_prefixes else b"<Key>"
        return Expectation(marker=marker, marker_count=len(self.names))

    def check(self, endpoint: Endpoint) -> None:
        """Raises EndpointError when the first answer names anything else."""
        path, pairs = self.targets[0]
        if self.method == "HEAD":
            endpoint.expect("HEAD", path)
            return
        answer = endpoint.expect("GET", path, canonical_query(pairs))
        before = rb"<CommonPrefixes>\s*<Prefix>" if self.of_prefixes else rb"<Key>"
        if [name.decode() for name in re.findall(before + rb"([^<]*)</", answer)] != self.names:
            raise EndpointError(
                f"{endpoint.name}: {self.title}: other names than were put there; run with --clean, "
                "then again"
            )


def listed_keys(bucket: str, count: int) -> Objects:
    """The keys that plain pages are read of, in folders of 1,000."""
    return Objects(f"{bucket}-keys-{count}", "", KEY_OBJECT_BYTES, count, folder_key)


def deep_key(number: int) -> str:
    """Folders of 100 keys, six levels down, ten on each level but the first."""
    return f"{'/'.join(f'{number // DEEP_FOLDER_KEYS:0{_DEEP_LEVELS}d}')}/{number:08d}"


def fill_bucket(
    endpoint: Endpoint, marks: str, objects: Objects, say: Say, *, versioned: bool
) -> int:
    """Make the bucket and put its keys unless they are there; the bytes put. Raises EndpointError."""
    if versioned and not is_filled(endpoint, marks, objects):
        # what a fill that was interrupted left would come on top
        endpoint.remove_bucket(objects.bucket, versions=True)
    endpoint.make_bucket(objects.bucket)
    if versioned:
        endpoint.expect("PUT", f"/{objects.bucket}", "versioning=", _VERSIONING)
    return fill(endpoint, marks, objects, say)


@dataclass(frozen=True)
class Listing:
    """One kind of page of a bucket with so many keys (versions, for `versions`). keys: hundreds."""

    kind: str
    keys: int
    bucket: str

    @property
    def versioned(self) -> bool:
        return self.kind == "versions"

    def objects(self) -> Objects:
        if self.kind == "deep":
            name, key_of = f"{self.bucket}-deep-{self.keys}", deep_key
        elif self.kind == "versions":
            name, key_of = f"{self.bucket}-versions-{self.keys}", partial(_again, self.keys)
        else:
            return listed_keys(self.bucket, self.keys)
        return Objects(name, "", KEY_OBJECT_BYTES, self.keys, key_of)

    def row(self) -> Row:
        """Its requests, spread over the whole bucket in an order of no use to a cache."""
        path = f"/{self.objects().bucket}"
        make: dict[str, Callable[[str], Row]] = {
            "flat": self._flat,
            "delimiter": self._delimiter,
            "deep": self._deep,
            "versions": self._versions,
        }
        return make[self.kind](path)

    def _flat(self, path: str) -> Row:
        page = min(PAGE_KEYS_MAX, self.keys)
        firsts = _spread(self.keys - page)
        targets = [
            (path, (FLAT, ("max-keys", str(page)), *_behind("start-after", first, folder_key)))
            for first in firsts
        ]
        return Row("flat", "GET", targets, [folder_key(firsts[0] + i) for i in range(page)])

    def _versions(self, path: str) -> Row:
        page, keys = min(PAGE_KEYS_MAX, self.keys), self.keys // VERSIONS_PER_KEY
        firsts = _spread((self.keys - page) // VERSIONS_PER_KEY)
        targets = [
            (path, (VERSIONS, ("max-keys", str(page)), *_behind("key-marker", first, folder_key)))
            for first in firsts
        ]
        numbers = range(firsts[0], min(keys, firsts[0] + page // VERSIONS_PER_KEY))
        names = [folder_key(number) for number in numbers for _ in range(VERSIONS_PER_KEY)]
        return Row("versions", "GET", targets, names)

    def _delimiter(self, path: str) -> Row:
        folders = -(-self.keys // 1000)
        names = [f"{number:05d}/" for number in range(min(PAGE_KEYS_MAX, folders))]
        pairs = (FLAT, ("max-keys", str(PAGE_KEYS_MAX)), AT_ROOT)
        return Row("delimiter", "GET", [(path, pairs)], names, of_prefixes=True)

    def _deep(self, path: str) -> Row:
        folders = [first * DEEP_FOLDER_KEYS for first in _spread(self.keys // DEEP_FOLDER_KEYS - 1)]
        targets: list[tuple[str, Pairs]] = [
            (path, (FLAT, AT_ROOT, ("prefix", deep_key(first).rpartition("/")[0] + "/")))
            for first in folders
        ]
        return Row(
            "deep", "GET", targets, [deep_key(folders[0] + i) for i in range(DEEP_FOLDER_KEYS)]
        )


def _again(count: int, number: int) -> str:
    """Every key once, then all of them again, until there are `count` versions."""
    return folder_key(number % (count // VERSIONS_PER_KEY))


def _spread(last: int) -> list[int]:
    """Some numbers from 0 to `last`, shuffled."""
    return random.Random(last).sample(range(last + 1), min(last + 1, _TARGETS_MAX))


def _behind(name: str, first: int, key_of: Callable[[int], str]) -> Pairs:
    """The marker behind which a page begins with the key `first`."""
    return ((name, key_of(first - 1)),) if first else ()
