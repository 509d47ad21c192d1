"""Page-aligned buffers that uploads are received into.

Rule: an upload's first buffer is always given (a connection costs a fixed number of buffers, so
uploads can't wait for each other in a ring); further ones, which only make it faster, are given
while fewer than a bound are in use in the whole store. A buffer goes back only when no thread and
no source uses it any more. Untouched pages of a buffer cost no memory, so a small upload in a
large buffer is cheap.
"""

from __future__ import annotations

import mmap
import threading

#: room before the content: for a header that is written together with it
HEADROOM_BYTES = 4096


class Buffer:
    """`view` is where content goes, `whole` begins HEADROOM_BYTES before it; `pending` counts the
    lanes that still have to go over it."""

    __slots__ = ("count", "offset", "pending", "view", "whole")

    def __init__(self, size_bytes: int) -> None:
        size_bytes += HEADROOM_BYTES
        # Private: shared anonymous memory would be a file of tmpfs, dearer to touch.
        self.whole = memoryview(
            mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            if hasattr(mmap, "MAP_PRIVATE")
            else mmap.mmap(-1, size_bytes)
        )
        self.view = self.whole[HEADROOM_BYTES:]
        self.pending = 0
        self.count = 0  # bytes filled
        self.offset = 0  # of the first byte in the file


class BufferPool:
    """Buffers of one size. Keeps at most `free_max` unused ones; safe in any thread."""

    def __init__(self, size_bytes: int, shared_max: int, free_max: int) -> None:
        if size_bytes % mmap.PAGESIZE:
            raise ValueError("size_bytes must be a multiple of the page size")
        self.size_bytes = size_bytes
        self.in_use = 0
        self._shared_max = shared_max
        self._free_max = free_max
        self._free: list[Buffer] = []
        self._lock = threading.Lock()

    def take(self) -> Buffer:
        """An upload's first buffer."""
        with self._lock:
            self.in_use += 1
            if self._free:
                return self._free.pop()
        return Buffer(self.size_bytes)

    def take_further(self) -> Buffer | None:
        """A further buffer, or None when `shared_max` are in use."""
        with self._lock:
            if self.in_use >= self._shared_max:
                return None
        return self.take()

    def give(self, buffer: Buffer) -> None:
        with self._lock:
            self.in_use -= 1
            if len(self._free) < self._free_max:
                self._free.append(buffer)
