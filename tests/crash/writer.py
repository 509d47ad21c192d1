"""One writer: a thread that works on keys of its own and notes what was acknowledged.

Rule: an operation without an answer, or answered 503, leaves its key in doubt, and the key is left
alone until everything was restarted. Any other answer than the expected one is a violation.
"""

from __future__ import annotations

import base64
import hashlib
import random
import threading
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

from tests.crash.client import Answer, Client, Unanswered
from tests.crash.model import BUCKETS, Contents, Expectations, Place, Value, value_of

KEYS_PER_WRITER = 24
LEFT_UPLOADS_MAX = 6
#: after a failure, so that a restarting server is not hammered
FAILURE_REST_SECONDS = 0.02
#: answers that say: not now. 500 is none of them
UNAVAILABLE = (503,)


class Violation(Exception):
    """The server did what it must not do."""


class Unavailable(Exception):
    """An answer that leaves the outcome unknown."""


class LeftUpload(NamedTuple):
    """A multipart upload under way whose parts were all acknowledged."""

    place: Place
    upload_id: str
    parts: tuple[bytes, ...]


class Gate:
    """Lets the writers work, or makes them rest between two operations."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._open = False
        self._ended = False
        self._working = 0

    def open(self) -> None:
        with self._condition:
            self._open = True
            self._condition.notify_all()

    def close(self) -> None:
        """Returns once every writer rests; each request ends, at the latest by its time-out."""
        with self._condition:
            self._open = False
            while self._working:
                self._condition.wait()

    def end(self) -> None:
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def enter(self) -> bool:
        """Wait until the gate is open; False when there is nothing more to do."""
        with self._condition:
            while not self._open and not self._ended:
                self._condition.wait()
            self._working += not self._ended
            return not self._ended

    def leave(self) -> None:
        with self._condition:
            self._working -= 1
            self._condition.notify_all()


class Writer:
    """`acknowledged` counts the successful writes, `unanswered` those with an unknown outcome."""

    def __init__(
        self, number: int, client: Client, contents: Contents, gate: Gate, seed: int
    ) -> None:
        self.number = number
        self._thread = threading.Thread(target=self._run, name=f"writer-{number}", daemon=True)
        self.client = client
        self.violations: list[str] = []
        self.acknowledged = 0
        self.unanswered = 0
        places = [
            Place(BUCKETS[i % len(BUCKETS)], f"w{number}/dir {i % 3}/key-{i}é".encode())
            for i in range(KEYS_PER_WRITER)
        ]
        self.expected = Expectations(places)
        self._contents = contents
        self._gate = gate
        self._chance = random.Random(seed * 1000 + number)
        self._left: list[LeftUpload] = []
        self._count = 0

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """After the gate has ended the work."""
        if self._thread.is_alive():
            self._thread.join()
        self.client.close()

    def _run(self) -> None:
        steps, weights = zip(*self._steps(), strict=True)
        while self._gate.enter():
            try:
                (step,) = self._chance.choices(steps, weights)
                step()
            except (Unanswered, Unavailable):
                self.unanswered += 1
                self.client.close()
                threading.Event().wait(FAILURE_REST_SECONDS)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run has failed
                self.violations.append(f"writer {self.number}: {type(error).__name__}: {error}")
            finally:
                self._gate.leave()

    def _steps(self) -> list[tuple[Callable[[], None], int]]:
        return [
            (self._put_small, 30),
            (self._put_large, 18),
            (self._put_condition, 4),
            (self._read, 20),
            (self._delete, 10),
            (self._delete_several, 3),
            (self._copy, 12),
            (self._upload, 8),
            (self._resume, 4),
            (self._scratch_bucket, 2),
        ]

    # ---- steps

    def _put_small(self) -> None:
        self._count += 1
        self._put(self._contents.small(self.number, self._count, self._chance))

    def _put_large(self) -> None:
        self._put(self._chance.choice(self._contents.large))

    def _put(self, body: bytes) -> None:
        place = self._place()
        value = value_of(body)
        self.expected.begin(place, value)
        answer = self._request("PUT", place, body=body)
        self._expect(answer, 200, place)
        if answer.etag != value.etag:
            raise Violation(f"{place}: the ETag is {answer.etag}, not {value.etag}")
        self._acknowledge(place)

    def _put_condition(self) -> None:
        """If-None-Match: * changes nothing where an object is, and makes one where none is."""
        place = self._place()
        body = self._chance.choice(self._contents.large)
        there = self.expected.now(place) is not None
        self.expected.begin(place, value_of(body))
        answer = self._request("PUT", place, headers={"if-none-match": "*"}, body=body)
        self._expect(answer, 412 if there else 200, place)
        if there:
            self.expected.refused(place)
        else:
            self._acknowledge(place)

    def _read(self) -> None:
        place = self._place()
        answer = self._request("GET", place)
        seen = None
        if answer.status != 404:
            self._expect(answer, 200, place)
            seen = value_of(answer.body, answer.etag)
        problem = self.expected.check(place, seen, settle=False)
        if problem:
            raise Violation(f"read while running: {problem}")

    def _delete(self) -> None:
        place = self._place()
        self.expected.begin(place, None)
        self._expect(self._request("DELETE", place), 204, place)
        self._acknowledge(place)

    def _delete_several(self) -> None:
        bucket = self._chance.choice(BUCKETS)
        places = [place for place in self.expected.settled() if place.bucket == bucket]
        places = self._chance.sample(places, min(3, len(places)))
        if not places:
            return
        for place in places:
            self.expected.begin(place, None)
        keys = "".join(f"<Object><Key>{place.key.decode()}</Key></Object>" for place in places)
        body = f"<Delete><Quiet>true</Quiet>{keys}</Delete>".encode()
        md5 = hashlib.md5(body, usedforsecurity=False).digest()
        answer = self._checked(
            self.client.request(
                "POST", bucket, query={"delete": ""}, body=body,
                headers={"content-md5": base64.b64encode(md5).decode()},
            )
        )  # fmt: skip
        self._expect(answer, 200, places[0])
        if b"<Error>" in answer.body:
            if b"<Code>ServiceUnavailable</Code>" in answer.body:
                raise Unavailable
            raise Violation(f"DeleteObjects: {answer.body!r}")
        for place in places:
            self._acknowledge(place)

    def _copy(self) -> None:
        present = [p for p in self.expected.settled() if self.expected.now(p) is not None]
        if not present:
            return
        source, target = self._chance.choice(present), self._place()
        value = self.expected.now(source)
        if source == target or value is None:
            return
        if "-" in value.etag:  # what a copy of a multipart object has for an ETag is not at stake
            value = value._replace(etag="")
        self.expected.begin(target, value)
        name = quote(f"/{source.bucket}/".encode() + source.key, safe="/-_.~")
        answer = self._request("PUT", target, headers={"x-amz-copy-source": name})
        self._expect(answer, 200, target)
        if b"<Error>" in answer.body:
            raise Violation(f"copy to {target}: {answer.body!r}")
        self._acknowledge(target)

    def _upload(self) -> None:
        """A multipart upload that is completed, aborted, or left for later."""
        place = self._place()
        answer = self._request("POST", place, query={"uploads": ""})
        self._expect(answer, 200, place)
        parts = [self._chance.choice(self._contents.large)]
        if self._chance.random() < 0.1:
            parts.insert(0, self._contents.first_part)
        elif self._chance.random() < 0.3:
            self._count += 1
            parts = [self._contents.small(self.number, self._count, self._chance) or b"."]
        upload = LeftUpload(place, answer.find("UploadId"), tuple(parts))
        for number, part in enumerate(parts, 1):
            query = {"partNumber": str(number), "uploadId": upload.upload_id}
            answer = self._request("PUT", place, query=query, body=part)
            self._expect(answer, 200, place)
        what = self._chance.random()
        if what < 0.5:
            self._complete(upload)
        elif what < 0.75:
            self._abort(upload)
        elif len(self._left) < LEFT_UPLOADS_MAX:
            self._left.append(upload)

    def _resume(self) -> None:
        """Go on with an upload that was left, maybe before a kill."""
        settled = set(self.expected.settled())
        for upload in self._left:
            if upload.place in settled:
                self._left.remove(upload)
                if self._chance.random() < 0.2:
                    self._abort(upload)
                else:
                    self._complete(upload)
                return

    def _complete(self, upload: LeftUpload) -> None:
        digests = [hashlib.md5(part, usedforsecurity=False) for part in upload.parts]
        whole = hashlib.md5(b"".join(d.digest() for d in digests), usedforsecurity=False)
        value = value_of(b"".join(upload.parts), f"{whole.hexdigest()}-{len(digests)}")
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{digest.hexdigest()}</ETag></Part>"
            for number, digest in enumerate(digests, 1)
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        self.expected.begin(upload.place, value)
        answer = self._request("POST", upload.place, {"uploadId": upload.upload_id}, body=body)
        self._expect(answer, 200, upload.place)
        if b"<Error>" in answer.body:
            raise Violation(f"complete of {upload.place}: {answer.body!r}")
        self._acknowledge(upload.place)

    def _abort(self, upload: LeftUpload) -> None:
        answer = self._request("DELETE", upload.place, {"uploadId": upload.upload_id})
        self._expect(answer, 204, upload.place)
        self.acknowledged += 1

    def _scratch_bucket(self) -> None:
        """A bucket that comes, is used and goes: its directory is the collector's to remove."""
        self._count += 1
        bucket = f"scratch-{self.number}-{self._count}"
        place = Place(bucket, b"some/key")
        self._expect(self._checked(self.client.request("PUT", bucket)), 200, place)
        body = self._chance.choice(self._contents.large)
        self._expect(self._request("PUT", place, body=body), 200, place)
        self._expect(self._checked(self.client.request("DELETE", bucket)), 409, place)
        self._expect(self._request("DELETE", place), 204, place)
        self._expect(self._checked(self.client.request("DELETE", bucket)), 204, place)
        self.acknowledged += 4

    # ---- what the steps share

    def _place(self) -> Place:
        settled = self.expected.settled()
        if not settled:  # everything is in doubt until the next restart
            raise Unavailable
        return self._chance.choice(settled)

    def _request(
        self,
        method: str,
        place: Place,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        return self._checked(
            self.client.request(method, place.bucket, place.key, query, headers, body)
        )

    def _checked(self, answer: Answer) -> Answer:
        if answer.status in UNAVAILABLE:
            raise Unavailable
        return answer

    def _expect(self, answer: Answer, status: int, place: Place) -> None:
        if answer.status != status:
            raise Violation(
                f"{place} answered {answer.status}, not {status}: {answer.body[:500]!r}"
            )

    def _acknowledge(self, place: Place) -> None:
        self.expected.acknowledged(place)
        self.acknowledged += 1


def read_place(client: Client, place: Place) -> Value | None:
    """What is there now. Raises Unanswered, Unavailable, Violation."""
    answer = client.request("GET", place.bucket, place.key)
    if answer.status in UNAVAILABLE:
        raise Unavailable
    if answer.status == 404 and b"<Code>NoSuchKey</Code>" in answer.body:
        return None
    if answer.status != 200:
        raise Violation(f"{place} answered {answer.status}: {answer.body[:500]!r}")
    return value_of(answer.body, answer.etag)
