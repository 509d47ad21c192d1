"""How far an import is: a bar for the bucket and one for all, on a terminal.

Rule: nobody knows how much a server has before it is listed; so on a terminal, and only there, all
buckets are listed once more, ahead of the copying, to say what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.cli.objects.output import Output
from holdfast.cli.objects.progress import Item, Meter
from holdfast.client.asynchronous import AsyncObjectStore
from holdfast.client.errors import S3Error

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class _Counts:
    __slots__ = ("bytes_done", "bytes_total", "done", "is_counted", "total")

    def __init__(self) -> None:
        self.done = self.total = self.bytes_done = self.bytes_total = 0
        self.is_counted = False


class ImportMeter(Meter):
    """Versions instead of files, and the bucket at hand."""

    noun = "versions"

    def __init__(self, output: Output, *, quiet: bool = False) -> None:
        super().__init__(output, quiet=quiet)
        self._buckets: dict[str, _Counts] = {}
        self._bucket = ""
        self._bar: TaskID | None = None
        self._bytes_before = 0

    def enter(self, bucket: str) -> None:
        self._bucket = bucket
        self._buckets.setdefault(bucket, _Counts())
        self._bytes_before = self.bytes_done

    def same(self, versions: int, size: int) -> None:
        """They were there: their bytes count for no rate."""
        self.files_done += versions
        self.bytes_total -= size
        counts = self._buckets[self._bucket]
        counts.done += versions
        counts.bytes_total -= size

    def finish(self, item: Item, *, failed: bool = False) -> None:
        super().finish(item, failed=failed)
        self._buckets[self._bucket].done += 1

    async def count(self, store: AsyncObjectStore, buckets: list[str]) -> None:
        """Lists all, for the totals."""
        for bucket in buckets:
            counts = self._buckets.setdefault(bucket, _Counts())
            try:
                async for entry in store.list_versions(bucket):
                    self.add(entry.size)
                    counts.total += 1
                    counts.bytes_total += entry.size
            except S3Error:
                return  # said where it is copied; there is no total then
            counts.is_counted = True
        self.is_complete = True

    def _update(self, rich: RichProgress) -> None:
        counts = self._buckets.get(self._bucket)
        if counts is not None:
            if self._bar is None:
                self._bar = rich.add_task("", total=None)
            plus = "" if counts.is_counted else "+"
            rich.update(
                self._bar,
                description=f"{self._bucket}  {counts.done:,}/{counts.total:,}{plus}",
                completed=self.bytes_done - self._bytes_before,
                total=counts.bytes_total if counts.is_counted else None,
            )
        super()._update(rich)
