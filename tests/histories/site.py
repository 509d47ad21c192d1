"""A real server with two workers, and for each lane a connection to either of them."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from tests.crash.process import ServerFault, ServerProcess
from tests.histories.generate import Contents
from tests.histories.operations import SOURCE_BUCKET, Call
from tests.histories.wire import Hung, Requests, Wire, open_wire
from tests.s3.raw import Answer

WORKERS = 2
#: small, so that most of what is written can be files
INLINE_BYTES_MAX = 2048
GRACE_SECONDS = 10.0
ARGUMENTS = (
    f"--workers={WORKERS}",
    f"--inline-bytes-max={INLINE_BYTES_MAX}",
    f"--gc-grace-seconds={GRACE_SECONDS}",
    # so that object ACLs are at work
    "--default-object-ownership=ObjectWriter",
    "--no-default-public-access-block",
)
#: of 100 crashes: so many of everything, of the supervisor alone; the rest hits one child
CRASHES_OF_EVERYTHING = 30
CRASHES_OF_SUPERVISOR = 5
#: after so many uses a connection is made anew
ASKS_MAX = 300
#: half of the connections go to the wrong worker, and all while the other one starts again
OPEN_ATTEMPTS_MAX = 2000
OPEN_ATTEMPTS_AT_ONCE = 10
REST_SECONDS = 0.02


class ServedSite:
    """See history.Site. `server` is the caller's to stop or destroy; `close` closes connections."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.server = ServerProcess(directory / "data", directory / "server.log", ARGUMENTS)
        self.contents = Contents(seed, INLINE_BYTES_MAX)
        self.crashes = 0
        self._requests = Requests(self.server.port)
        self._wires: dict[tuple[int, int], Wire] = {}
        self._asks: dict[tuple[int, int], int] = {}
        self._opening: dict[int, asyncio.Lock] = {}
        self._up = asyncio.Event()

    async def start(self) -> None:
        """Raises ServerFault."""
        await asyncio.to_thread(self.server.start)
        self._up.set()
        made = await self.ask(0, 0, SOURCE_BUCKET, [Call("PUT")])
        for key, content in self.contents.sources().items():
            made += await self.ask(0, 0, SOURCE_BUCKET, [Call("PUT", key, (), {}, content.data)])
        if any(answer.status != 200 for answer in made):
            raise ServerFault(f"the sources can't be made: {made}")

    async def ask(self, lane: int, worker: int, bucket: str, calls: list[Call]) -> list[Answer]:
        """Raises Lost, Hung."""
        await self._up.wait()
        wire = await self._wire(lane, worker)
        now = asyncio.get_running_loop().time()
        requests = [(call.method, self._requests.bytes_of(bucket, call, now)) for call in calls]
        return await wire.ask(requests)

    async def settle(self) -> None:
        await asyncio.sleep(REST_SECONDS)
        await self._up.wait()

    async def _wire(self, lane: int, worker: int) -> Wire:
        at = lane, worker
        wire = self._wires.get(at)
        if wire is not None:
            self._asks[at] += 1
            if not wire.closed and self._asks[at] < ASKS_MAX:
                return wire
            wire.close()
        async with self._opening.setdefault(lane, asyncio.Lock()):
            other = self._wires.get((lane, 1 - worker))
            taken = {0} if other is None or other.closed else {0, other.owner}
            wire = self._wires[at] = await self._open(taken)
            self._asks[at] = 0
            return wire

    async def _open(self, taken: set[int]) -> Wire:
        """To a worker that is not one of `taken`. Raises Lost, Hung."""
        for attempt in range(OPEN_ATTEMPTS_MAX):
            wire = await open_wire(self.server.port, self._requests, self.server.children())
            if wire.owner not in taken:
                return wire
            wire.close()
            if attempt >= OPEN_ATTEMPTS_AT_ONCE:
                await asyncio.sleep(REST_SECONDS)
                await self._up.wait()
        raise Hung("the other worker takes no connection")

    async def crash(self, chance: random.Random) -> None:
        """Kill something in the midst of the work, and wait until it is back. Raises ServerFault."""
        what = chance.randrange(100)
        self.crashes += 1
        if what >= CRASHES_OF_EVERYTHING + CRASHES_OF_SUPERVISOR:
            self.server.kill_child(chance.randrange(1000))
            await asyncio.to_thread(self.server.wait_whole)
            return
        self._up.clear()
        if what < CRASHES_OF_EVERYTHING:
            await asyncio.to_thread(self.server.kill_all)
        else:
            await asyncio.to_thread(self.server.kill_supervisor)
        await asyncio.to_thread(self.server.start)
        self._up.set()

    def close(self) -> None:
        for wire in self._wires.values():
            wire.close()
