"""A bucket's configuration documents (policy, CORS, ACL …), read once and kept parsed.

Rule: what is kept stands only as long as the store's generation, which moves before the answer to
any command that changes a bucket or a document; so no worker ever acts on an old configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from holdfast.meta.contract import MetaReader
from holdfast.meta.records import Bucket

T = TypeVar("T")

#: buckets whose configuration is kept at the same time, in each worker
CONFIGURATIONS_MAX = 10_000
#: a bucket has one document a kind, or one for each id of the kinds that have ids
DOCUMENTS_MAX = 10_000


class Configuration:
    """The documents of one bucket, as stored bytes and, on demand, parsed."""

    __slots__ = ("_documents", "_parsed")

    def __init__(self, documents: dict[str, bytes]) -> None:
        self._documents = documents
        self._parsed: dict[str, object] = {}

    def document(self, kind: str) -> bytes | None:
        return self._documents.get(kind)

    def kinds(self, prefix: str) -> list[str]:
        """The kinds that begin with `prefix`, in order."""
        return sorted(kind for kind in self._documents if kind.startswith(prefix))

    def parsed(self, kind: str, parse: Callable[[bytes], T]) -> T | None:
        """The document, parsed by `parse` the first time; None when there is none."""
        if kind not in self._documents:
            return None
        if kind not in self._parsed:
            self._parsed[kind] = parse(self._documents[kind])
        return cast(T, self._parsed[kind])


class Configurations:
    """The configurations of one worker."""

    def __init__(self, meta: MetaReader) -> None:
        self._meta = meta
        self._generation = -1
        self._kept: dict[int, Configuration] = {}

    async def of(self, bucket: Bucket) -> Configuration:
        generation = self._meta.generation()
        if generation != self._generation or len(self._kept) >= CONFIGURATIONS_MAX:
            self._kept.clear()
            self._generation = generation
        kept = self._kept.get(bucket.id)
        if kept is None:
            rows = await self._meta.documents(bucket.id, "", limit=DOCUMENTS_MAX)
            kept = Configuration(dict(rows))
            if generation == self._meta.generation():
                self._kept[bucket.id] = kept
        return kept
