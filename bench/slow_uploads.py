"""The soak's other traffic: a hundred slow uploads side by side, and multipart uploads.

All uploads together get so many bytes a second, so each takes its time and holds its buffers and its
file meanwhile. Each goes to a key of its own again and again, so what is stored stays bounded; the ETag
tells that all of it arrived, and its end is read back.
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
import threading
import time
from http.client import HTTPException, HTTPResponse

from bench.endpoint import Endpoint, EndpointError
from bench.load import STALL_SECONDS
from bench.multipart import BUCKET, MIB, WHOLE, Uploads
from bench.sign import UNSIGNED_PAYLOAD
from bench.traffic import STAMP_BYTES, Ledger

_TICK_SECONDS = 0.05
_MULTIPART_BYTES = 11 * MIB
_PART_BYTES = 5 * MIB
_ABORT_EVERY = 5
_MULTIPART_PAUSE_SECONDS = 2.0


class _Upload:
    """One object after the other, to one key."""

    def __init__(self, endpoint: Endpoint, path: str) -> None:
        self.endpoint = endpoint
        self.path = path
        self.sock: socket.socket | None = None
        self.left = memoryview(b"")
        self.etag = ""
        self.stamp = b""
        self.began = 0.0
        self.answer_by = 0.0

    def begin(self, filling: memoryview, digest: hashlib._Hash) -> None:
        """Raises OSError."""
        if self.sock is None:
            self.sock = self.endpoint.address.connect()
        self.stamp = os.urandom(STAMP_BYTES)
        digest.update(self.stamp)
        self.etag = digest.hexdigest()
        size = len(filling) + STAMP_BYTES
        self.sock.settimeout(STALL_SECONDS)
        self.sock.sendall(self.endpoint.signer().head("PUT", self.path, "", UNSIGNED_PAYLOAD, size))
        self.sock.setblocking(False)
        self.left = filling
        self.began = time.perf_counter()

    def send(self, allowance: int) -> bool:
        """Send so many bytes, if the socket takes them; True once all is sent. Raises OSError."""
        assert self.sock
        try:
            self.left = self.left[self.sock.send(self.left[:allowance]) :]
        except BlockingIOError:
            return False
        if self.left:
            return False
        self.sock.settimeout(STALL_SECONDS)
        self.sock.sendall(self.stamp)
        self.sock.setblocking(False)
        self.answer_by = time.monotonic() + STALL_SECONDS
        return True

    def finish(self) -> str | None:
        """Read the answer, then the end of what was put; what is wrong. Raises OSError."""
        assert self.sock
        self.sock.settimeout(STALL_SECONDS)
        answer = HTTPResponse(self.sock, method="PUT")
        answer.begin()
        said = answer.read()
        if answer.status != 200:
            return f"status {answer.status} {said[:200]!r}"
        if (answer.getheader("ETag") or "").strip('"') != self.etag:
            return "another ETag than that of what was sent"
        further = {"range": f"bytes=-{STAMP_BYTES}"}
        self.sock.sendall(self.endpoint.signer().head("GET", self.path, further=further))
        answer = HTTPResponse(self.sock, method="GET")
        answer.begin()
        return None if answer.read() == self.stamp else "other bytes than were put there"

    def close(self) -> None:
        if self.sock:
            self.sock.close()
            self.sock = None


class SlowUploads:
    """`count` uploads of `size` bytes at a time, `bytes_per_second` all together."""

    def __init__(
        self,
        endpoint: Endpoint,
        bucket: str,
        ledger: Ledger,
        *,
        count: int,
        size: int,
        bytes_per_second: float,
    ) -> None:
        self._uploads = [_Upload(endpoint, f"/{bucket}/u/{number:04d}") for number in range(count)]
        self._ledger = ledger
        self._each_per_second = bytes_per_second / count
        self._filling = memoryview(os.urandom(size - STAMP_BYTES))
        self._digest = hashlib.md5(self._filling, usedforsecurity=False)

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; what is under way then is cut off."""
        later = list(self._uploads)  # begun one after the other, so that they do not end together
        step = len(self._filling) / self._each_per_second / len(later)
        sending: list[_Upload] = []
        waiting: list[_Upload] = []
        started = last = time.monotonic()
        while not stop.wait(_TICK_SECONDS):
            now = time.monotonic()
            while later and now - started >= step * (len(self._uploads) - len(later)):
                sending.append(later.pop())
                self._begin(sending[-1])
            allowance, last = int(self._each_per_second * (now - last)) + 1, now
            for upload in [*sending]:
                try:
                    sent = upload.sock is not None and upload.send(allowance)
                except OSError as error:
                    self._failed(upload, str(error))
                    continue
                if sent:
                    sending.remove(upload)
                    waiting.append(upload)
            for upload in self._answered(waiting):
                waiting.remove(upload)
                sending.append(upload)
                self._begin(upload)
            for upload in sending:
                if upload.sock is None:
                    self._begin(upload)
        for upload in self._uploads:
            upload.close()

    def _begin(self, upload: _Upload) -> None:
        try:
            upload.begin(self._filling, self._digest.copy())
        except OSError as error:
            self._failed(upload, str(error))

    def _failed(self, upload: _Upload, error: str) -> None:
        self._ledger.error(f"upload: {error}")
        upload.close()

    def _answered(self, waiting: list[_Upload]) -> list[_Upload]:
        """Those whose answer is there, or will not come."""
        poll = select.poll()
        by_fd = {upload.sock.fileno(): upload for upload in waiting if upload.sock}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(0)} if by_fd else set()
        done = []
        for fd, upload in by_fd.items():
            if fd not in ready and time.monotonic() < upload.answer_by:
                continue
            done.append(upload)
            try:
                if wrong := upload.finish():
                    self._failed(upload, wrong)
                else:
                    self._ledger.add("upload", time.perf_counter() - upload.began)
            except (OSError, HTTPException) as error:
                self._failed(upload, str(error) or type(error).__name__)
        return done


class MultipartUploads:
    """One multipart upload after the other; every fifth is aborted."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger) -> None:
        self._endpoint = endpoint
        self._ledger = ledger

    def run(self, stop: threading.Event) -> None:
        self._endpoint.make_bucket(BUCKET)
        number = 0
        while not stop.wait(_MULTIPART_PAUSE_SECONDS):
            number += 1
            started = time.perf_counter()
            try:
                if number % _ABORT_EVERY:
                    self._whole()
                else:
                    self._aborted()
            except (EndpointError, OSError, HTTPException) as error:
                self._ledger.error(f"multipart: {error}")
            else:
                self._ledger.add("multipart", time.perf_counter() - started)

    def _whole(self) -> None:
        uploads = Uploads(self._endpoint, 2, None)
        uploads.sent(_MULTIPART_BYTES, _PART_BYTES)
        body = self._endpoint.expect("GET", f"/{BUCKET}/{WHOLE}")
        if len(body) != _MULTIPART_BYTES:
            raise EndpointError(f"{len(body)} bytes of an object of {_MULTIPART_BYTES}")
        self._endpoint.expect("DELETE", f"/{BUCKET}/{WHOLE}")

    def _aborted(self) -> None:
        class Enough(Exception):
            pass

        uploads = Uploads(self._endpoint, 1, None)
        try:
            with uploads.upload("aborted") as (path, upload_id):
                query = f"partNumber=1&uploadId={upload_id}"
                self._endpoint.expect("PUT", path, query, os.urandom(MIB))
                raise Enough
        except Enough:
            status, _ = self._endpoint.call("GET", path)
            if status != 404:
                raise EndpointError(
                    f"status {status} of an object whose upload was aborted"
                ) from None
