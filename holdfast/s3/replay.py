"""A body that has been read already, to be read once more."""

from __future__ import annotations

from holdfast.http.message import BodyTooLarge


class ReplayedBody:
    """Implements http.message.Body. `data`: the bytes as they came, whatever their coding."""

    def __init__(self, data: bytes) -> None:
        self.length: int | None = len(data)
        self._rest = memoryview(data)

    def take(self) -> bytes | None:
        data, self._rest = bytes(self._rest), self._rest[:0]
        return data

    async def read(self, limit_bytes: int) -> bytes:
        if len(self._rest) > limit_bytes:
            raise BodyTooLarge
        return self.take() or b""

    async def fill(self, view: memoryview) -> int:
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
