"""Large multipart uploads, killed at any moment: `python -m tests.crash --large`.

Several connections send the parts of one upload side by side, and send again whatever had no answer,
while processes are killed, each alone or all at once. After each kill ListParts must show every part
that was acknowledged, with its ETag and size, and none that nobody sent. Then the upload is completed
(and the object read and compared byte by byte), aborted, or left. At the end fsck finds nothing but
garbage, and after everything was deleted the running server itself has given all the space back.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from tests.crash.client import Answer, Client, Unanswered
from tests.crash.process import ACCESS_KEY, SECRET_KEY, ServerFault, ServerProcess

BUCKET = "crash-large"
STAMP_BYTES = 16
RETRY_REST_SECONDS = 0.03
RETRY_SECONDS_MAX = 120.0
#: a kill comes up to the time that a part takes at this rate after a part was acknowledged
KILL_BYTES_PER_SECOND = 100_000_000
KILLS_OF_EVERYTHING = 0.5
KILL_AT_THE_END = 0.5
#: the collector's grace time, its rounds, and a sweep that comes once in a grace time
SPACE_SECONDS_MAX = 90.0
UNAVAILABLE = (503,)


class Violation(Exception):
    """The server did what it must not do."""


class Plan(NamedTuple):
    """Sizes in bytes."""

    uploads: int
    size: int
    part_size: int
    connections: int
    kills_per_upload: int


@dataclass
class Outcome:
    uploads: dict[str, int] = field(default_factory=dict)
    parts_acknowledged: int = 0
    parts_sent_again: int = 0
    listings_compared: int = 0
    kills: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    compared_bytes: int = 0
    garbage_bytes: int = 0
    seconds: float = 0.0
    losses: list[str] = field(default_factory=list)

    def line(self) -> str:
        uploads = ", ".join(f"{count} {name}" for name, count in sorted(self.uploads.items()))
        kinds = ", ".join(f"{count} {name}" for name, count in sorted(self.kinds.items()))
        return (
            f"uploads {uploads or 0}; parts acknowledged {self.parts_acknowledged}, sent again "
            f"{self.parts_sent_again}; kills {self.kills} ({kinds}); part lists compared "
            f"{self.listings_compared}; {self.compared_bytes} bytes read and compared; "
            f"{self.garbage_bytes} bytes of garbage found; {self.seconds:.0f} s, "
            f"losses {len(self.losses)}"
        )


class Source:
    """The parts' contents: one noise for all, ended by a stamp, so that a part's ETag costs nothing
    to know. Uploads 2n and 2n+1 have the same contents: the one may go while the other stays."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self._plan = plan
        self._noise = memoryview(random.Random(seed).randbytes(plan.part_size - STAMP_BYTES))
        self._md5: dict[int, hashlib._Hash] = {}

    @property
    def count(self) -> int:
        return -(-self._plan.size // self._plan.part_size)

    def size(self, number: int) -> int:
        plan = self._plan
        return min(plan.part_size, plan.size - (number - 1) * plan.part_size)

    def pieces(self, upload: int, number: int) -> list[memoryview]:
        stamp = (upload // 2).to_bytes(8, "big") + number.to_bytes(8, "big")
        return [self._noise[: self.size(number) - STAMP_BYTES], memoryview(stamp)]

    def etag(self, upload: int, number: int) -> str:
        noise, stamp = self.pieces(upload, number)
        if len(noise) not in self._md5:
            self._md5[len(noise)] = hashlib.md5(noise, usedforsecurity=False)
        md5 = self._md5[len(noise)].copy()
        md5.update(stamp)
        return md5.hexdigest()


class Upload:
    """One upload and what was acknowledged of it: number -> ETag."""

    def __init__(self, number: int, upload_id: str) -> None:
        self.number = number
        self.id = upload_id
        self.key = f"large/{number}".encode()
        self.acknowledged: dict[int, str] = {}
        self.changed = threading.Condition()


class LargeRun:
    """`data` and its log lie in `directory`, which the caller makes and removes."""

    def __init__(
        self,
        directory: Path,
        plan: Plan,
        *,
        seed: int,
        arguments: tuple[str, ...],
        say: Callable[[str], None],
    ) -> None:
        self.server = ServerProcess(directory / "data", directory / "server.log", arguments)
        self.outcome = Outcome()
        self._plan = plan
        self._say = say
        self._chance = random.Random(seed)
        self._source = Source(plan, seed)
        self._whole: list[Upload] = []
        self._left: list[Upload] = []
        self._failure: Exception | None = None

    def run(self) -> Outcome:
        started = time.monotonic()
        try:
            self.server.start()
            with closing(self._client()) as client:
                self._until(client, (200,), "PUT")
                endings = [self._complete, self._abort, self._leave]
                for number in range(self._plan.uploads):
                    self._one(client, number, endings[number % len(endings)])
                    self.outcome.seconds = time.monotonic() - started
                    self.outcome.kinds = dict(self.server.kills + self.server.child_kills())
                    self._say(self.outcome.line())
                self._check_store(client)
                self._give_back(client)
        except (Violation, ServerFault, Unanswered, ValueError) as fault:
            self.outcome.losses.append(f"{type(fault).__name__}: {fault}")
        finally:
            self.server.destroy()
        self.outcome.seconds = time.monotonic() - started
        return self.outcome

    def _client(self) -> Client:
        return Client(self.server.port, ACCESS_KEY, SECRET_KEY)

    # ---- one upload

    def _one(self, client: Client, number: int, end: Callable[[Client, Upload], None]) -> None:
        key = f"large/{number}".encode()
        answer = self._until(client, (200,), "POST", key, {"uploads": ""})
        upload = Upload(number, answer.find("UploadId"))
        numbers = iter(self._chance.sample(range(1, self._source.count + 1), self._source.count))
        threads = [
            threading.Thread(target=self._send_parts, args=(upload, numbers), daemon=True)
            for _ in range(self._plan.connections)
        ]
        for thread in threads:
            thread.start()
        wanted = sorted(
            self._chance.choices(range(self._source.count), k=self._plan.kills_per_upload)
        )
        for count in wanted:
            self._wait_for_parts(upload, count)
            time.sleep(self._chance.uniform(0, self._plan.part_size / KILL_BYTES_PER_SECOND))
            self._kill()
            self._compare_parts(client, upload)
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        self._compare_parts(client, upload)
        self.outcome.parts_acknowledged += len(upload.acknowledged)
        end(client, upload)

    def _wait_for_parts(self, upload: Upload, count: int) -> None:
        def reached() -> bool:
            return len(upload.acknowledged) >= count or self._failure is not None

        with upload.changed:
            upload.changed.wait_for(reached, RETRY_SECONDS_MAX)

    def _send_parts(self, upload: Upload, numbers: Iterator[int]) -> None:
        """One connection: part after part, each until it is acknowledged."""
        try:
            with closing(self._client()) as client:
                while self._failure is None:
                    with upload.changed:
                        number = next(numbers, 0)
                    if not number:
                        return
                    self._send_part(client, upload, number)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run has failed
            self._failure = error if isinstance(error, Violation) else Violation(repr(error))
            with upload.changed:
                upload.changed.notify_all()

    def _send_part(self, client: Client, upload: Upload, number: int) -> None:
        query = {"partNumber": str(number), "uploadId": upload.id}
        pieces = self._source.pieces(upload.number, number)
        deadline = time.monotonic() + RETRY_SECONDS_MAX
        while time.monotonic() < deadline:
            try:
                answer = client.send_pieces(BUCKET, upload.key, query, pieces)
            except Unanswered:
                answer = None
            if answer is not None and answer.status not in UNAVAILABLE:
                etag = self._source.etag(upload.number, number)
                if (answer.status, answer.etag) != (200, etag):
                    raise Violation(f"part {number} answered {answer.status} {answer.body!r}")
                with upload.changed:
                    upload.acknowledged[number] = etag
                    upload.changed.notify_all()
                return
            self.outcome.parts_sent_again += 1
            time.sleep(RETRY_REST_SECONDS)
        raise Violation(f"part {number} is never taken")

    def _kill(self) -> None:
        self.outcome.kills += 1
        if self._chance.random() < KILLS_OF_EVERYTHING:
            self.server.kill_all()
            self.server.start()
        else:
            self.server.kill_child(self._chance.randrange(1000))
            self.server.wait_whole()

    def _compare_parts(self, client: Client, upload: Upload) -> None:
        """What was acknowledged before the look is there; what is there was sent."""
        with upload.changed:
            expected = dict(upload.acknowledged)
        found = self._list_parts(client, upload)
        for number, (etag, size) in found.items():
            wanted = (self._source.etag(upload.number, number), self._source.size(number))
            if (etag, size) != wanted:
                raise Violation(f"part {number} of {upload.key!r} is {etag, size}, not {wanted}")
        if lost := sorted(expected.keys() - found.keys()):
            raise Violation(f"acknowledged parts {lost} of {upload.key!r} are gone")
        self.outcome.listings_compared += 1

    def _list_parts(self, client: Client, upload: Upload) -> dict[int, tuple[str, int]]:
        found: dict[int, tuple[str, int]] = {}
        query = {"uploadId": upload.id, "max-parts": "1000"}
        while True:
            answer = self._until(client, (200,), "GET", upload.key, query)
            page = ElementTree.fromstring(answer.body)
            for node in page.iter():
                node.tag = node.tag.rpartition("}")[2]
            for part in page.findall("Part"):
                etag = (part.findtext("ETag") or "").strip('"')
                found[int(part.findtext("PartNumber") or 0)] = (
                    etag,
                    int(part.findtext("Size") or 0),
                )
            if page.findtext("IsTruncated") != "true":
                return found
            query["part-number-marker"] = page.findtext("NextPartNumberMarker") or ""

    # ---- how it ends

    def _complete(self, client: Client, upload: Upload) -> None:
        rows = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in sorted(upload.acknowledged.items())
        )
        body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
        query = {"uploadId": upload.id}
        answer = self._while_killing(
            lambda own: self._until(own, (200,), "POST", upload.key, query, body)
        )
        if b"<Error>" in answer.body:
            raise Violation(f"Complete of {upload.key!r}: {answer.body!r}")
        self._compare_object(client, upload)
        self._whole.append(upload)
        self._count("completed")

    def _abort(self, client: Client, upload: Upload) -> None:
        query = {"uploadId": upload.id}
        # 404: it was aborted by a request whose answer was lost
        self._while_killing(lambda own: self._until(own, (204, 404), "DELETE", upload.key, query))
        self._until(client, (404,), "GET", upload.key, query)
        self._until(client, (404,), "HEAD", upload.key)
        self._count("aborted")

    def _leave(self, client: Client, upload: Upload) -> None:
        self._left.append(upload)
        self._count("left")

    def _count(self, ending: str) -> None:
        self.outcome.uploads[ending] = self.outcome.uploads.get(ending, 0) + 1

    def _while_killing(self, ask: Callable[[Client], Answer]) -> Answer:
        """Ask until it is answered, maybe with a kill in the middle of it."""
        if self._chance.random() >= KILL_AT_THE_END:
            with closing(self._client()) as client:
                return ask(client)
        answers: list[Answer | Exception] = []

        def work() -> None:
            with closing(self._client()) as client:
                try:
                    answers.append(ask(client))
                except Exception as error:  # noqa: BLE001 - raised again below
                    answers.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        time.sleep(self._chance.uniform(0, 0.01))
        self._kill()
        thread.join()
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]

    def _compare_object(self, client: Client, upload: Upload) -> None:
        """Every byte of it, part by part."""
        client.close()  # its connection may be one of a process that was killed
        piece = bytearray(self._plan.part_size)
        number = 0
        for view in client.read_into(BUCKET, upload.key, piece):
            number += 1
            noise, stamp = self._source.pieces(upload.number, number)
            if not piece.startswith(noise) or view[len(noise) :] != stamp:
                raise Violation(f"part {number} of {upload.key!r} has other bytes")
            self.outcome.compared_bytes += len(view)
        if number != self._source.count:
            raise Violation(f"{upload.key!r} ends after {number} parts")

    # ---- the end of the run

    def _check_store(self, client: Client) -> None:
        """Nothing but garbage; once that is reclaimed nothing at all, and nothing else is missing."""
        self.server.stop()
        report = self.server.fsck(reclaim=False)
        self.outcome.garbage_bytes += report.garbage_bytes + report.going_bytes
        if not report.damage_count:
            self.server.fsck(reclaim=True)
            report = self.server.fsck(reclaim=False)
        if not report.clean:
            raise Violation(f"fsck: {report.lines()}")
        self.server.start()
        for upload in self._whole:
            self._compare_object(client, upload)
        for upload in self._left:
            self._compare_parts(client, upload)

    def _give_back(self, client: Client) -> None:
        """Everything is deleted, and the server itself removes every file."""
        answer = self._until(client, (200,), "GET", query={"uploads": ""})
        found = {node.text for node in ElementTree.fromstring(answer.body).iter() if _is_id(node)}
        if found != {upload.id for upload in self._left}:
            raise Violation(f"uploads in progress are {found}")
        for upload in self._left:
            self._until(client, (204,), "DELETE", upload.key, {"uploadId": upload.id})
        for upload in self._whole:
            self._until(client, (204,), "DELETE", upload.key)
        deadline = time.monotonic() + SPACE_SECONDS_MAX
        while files := _files(self.server.data):
            if time.monotonic() > deadline:
                raise Violation(f"files stay behind: {files[:5]}")
            time.sleep(0.2)
        self.server.stop()
        report = self.server.fsck(reclaim=False)
        if not report.clean or report.blobs:
            raise Violation(f"fsck after all was deleted: {report.lines()}")

    # ---- requests

    def _until(
        self,
        client: Client,
        statuses: tuple[int, ...],
        method: str,
        key: bytes = b"",
        query: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Ask again while the server is away; any other status is a violation."""
        deadline = time.monotonic() + RETRY_SECONDS_MAX
        while time.monotonic() < deadline:
            try:
                answer = client.request(method, BUCKET, key, query, body=body)
            except Unanswered:
                time.sleep(RETRY_REST_SECONDS)
                continue
            if answer.status in statuses:
                return answer
            if answer.status not in UNAVAILABLE:
                raise Violation(f"{method} {key!r} answered {answer.status} {answer.body[:500]!r}")
            time.sleep(RETRY_REST_SECONDS)
        raise Violation(f"{method} {key!r} is never answered")


def _is_id(node: ElementTree.Element) -> bool:
    return node.tag.rpartition("}")[2] == "UploadId"


def _files(data: Path) -> list[str]:
    """The content on the disk, that of uploads under way included."""
    return [
        os.path.join(parent, name)
        for directory in ("buckets", "tmp")
        for parent, _, names in os.walk(data / directory)
        for name in names
    ]
