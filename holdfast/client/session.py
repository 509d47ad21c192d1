"""One call of S3 from its request to its answer: connections, attempts, redirects, errors.

Rule: a request is repeated when it certainly was not done (503, SlowDown, a connection refused, or
one that had waited idle and was found closed), and also on 500s and broken connections if it is
idempotent. Waits are random up to a bound that doubles ("full jitter",
aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter); Retry-After is respected.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from holdfast.client import xml
from holdfast.client.address import Addresser, Request, Target
from holdfast.client.backend import Backend
from holdfast.client.config import RetryConfig, TransferConfig
from holdfast.client.errors import ConnectionFailed, S3Error, class_of
from holdfast.client.models import RawResponse
from holdfast.client.options import http_time
from holdfast.client.wire import Answer, Http, HttpError

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")
ERROR_BYTES_MAX = 256 * 1024
#: idle connections kept for each host, and the longest that one is trusted
IDLE_CONNECTIONS_MAX = 64
IDLE_SECONDS_MAX = 20.0
HOSTS_MAX = 100
#: bodies from this size on are announced first, so that a refusal costs no upload
EXPECT_BYTES_MIN = 1024 * 1024
EXPECT_SECONDS = 1.0
REDIRECTS_MAX = 3
RETRY_AFTER_SECONDS_MAX = 60.0

#: errors that say that nothing was done
_NOT_DONE = frozenset(("SlowDown", "ServiceUnavailable", "RequestTimeout", "TooManyRequests"))
_RETRIED_STATUSES = frozenset((500, 502, 503, 504, 429))
_REDIRECTS = frozenset(
    (
        "PermanentRedirect",
        "TemporaryRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    )
)


class Session:
    """Shared by all calls of one store. Safe to use from many threads, or on one event loop."""

    def __init__(
        self,
        backend: Backend,
        addresser: Addresser,
        *,
        verify: bool | str | os.PathLike[str] | ssl.SSLContext = True,
        transfer: TransferConfig | None = None,
        retry: RetryConfig | None = None,
        timeout: float = 60.0,
    ) -> None:
        self.backend = backend
        self.addresser = addresser
        self.transfer = transfer or TransferConfig()
        self.retry = retry or RetryConfig()
        self.timeout = timeout
        self._verify = verify
        self._tls: ssl.SSLContext | None = None
        self._idle: dict[Target, deque[tuple[Http, float]]] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self.closed = False

    async def send(self, request: Request) -> Answer:
        """The answer of a success (or of one of `expected`), its body unread. Raises S3Error."""
        return await self._repeat(request, _as_it_is)

    async def fetch(self, request: Request, bytes_max: int = xml.XML_BYTES_MAX) -> RawResponse:
        """The same with its body, which is part of what is repeated. Raises S3Error, also one that
        comes inside a 200."""

        async def whole(answer: Answer) -> RawResponse:
            body = await answer.read(bytes_max)
            if request.late_error and b"<Error" in body[:1024]:
                raise _late_error(answer, body, request)
            return RawResponse(answer.status, answer.headers, body)

        return await self._repeat(request, whole)

    async def _repeat(self, request: Request, take: Callable[[Answer], Awaitable[T]]) -> T:
        attempt = redirects = stale = 0
        while True:
            sent = 0

            def count(size: int) -> None:
                nonlocal sent
                sent += size
                assert request.on_sent is not None
                request.on_sent(size)

            again = False
            try:
                answer = await self._attempt(request, count if request.on_sent else None)
                if 200 <= answer.status < 300 or answer.status in request.expected:
                    return await take(answer)
                raise await error_of(answer, request)
            except HttpError as failure:
                error: S3Error = ConnectionFailed(
                    message=f"{self.addresser.locate(request.bucket, '')[0].authority}: {failure}",
                    resource=request.resource,
                )
                error.__cause__ = failure
                retriable = request.idempotent or not failure.sent
                if not failure.fresh and request.idempotent and stale < IDLE_CONNECTIONS_MAX:
                    # as many as waited idle may have been closed meanwhile: each is tried but once
                    again, stale = True, stale + 1
            except S3Error as refusal:
                error = refusal
                retriable = _is_retriable(request, error)
                if redirects < REDIRECTS_MAX and self._learn(request, error):
                    again, redirects = True, redirects + 1
            if sent and request.on_sent is not None:
                request.on_sent(-sent)
            if again:
                continue
            attempt += 1
            if not retriable or attempt >= self.retry.attempts:
                raise error
            await self.backend.sleep(self.wait_seconds(attempt, error.headers))

    def wait_seconds(self, attempt: int, headers: Mapping[str, str]) -> float:
        bound = min(self.retry.cap, self.retry.base * 2 ** (attempt - 1))
        asked = headers.get("retry-after", "")
        least = min(float(asked), RETRY_AFTER_SECONDS_MAX) if asked.isdigit() else 0.0
        return max(random.uniform(0, bound), least)

    async def _attempt(self, request: Request, on_sent: Callable[[int], None] | None) -> Answer:
        target, head = self.addresser.signed(request)
        http = await self._connection(target)
        size = sum([len(piece) for piece in request.body])
        answer = await http.request(
            request.method,
            head,
            request.body,
            on_sent=on_sent,
            expect_seconds=EXPECT_SECONDS if size >= EXPECT_BYTES_MIN else 0.0,
        )

        def keep(connection: Http) -> None:
            self._keep(target, connection)

        answer.begin(keep)
        return answer

    def _learn(self, request: Request, error: S3Error) -> bool:
        """What the refusal teaches about region, host or time; whether to ask again at once."""
        headers = error.headers
        if error.code == "RequestTimeTooSkewed" and not self.addresser.clock_offset:
            theirs = http_time(headers.get("date", ""))
            if theirs is None:
                return False
            self.addresser.clock_offset = theirs.timestamp() - time.time()
            return True
        if not request.bucket or not (error.status in (301, 307, 400) or error.code in _REDIRECTS):
            return False
        region = headers.get("x-amz-bucket-region") or headers.get("-region", "")
        if error.status == 400 and error.code not in ("", "BadRequest", *_REDIRECTS):
            return False
        if self.addresser.learn_region(request.bucket, region):
            return True
        return error.status == 307 and self.addresser.learn_host(
            request.bucket, headers.get("location", "")
        )

    # connections

    async def _connection(self, target: Target) -> Http:
        if self.closed:
            raise ConnectionFailed(message="the store is closed", hint="Connect anew.")
        if self._pid != os.getpid():
            # a child of fork: the sockets are its parent's
            self._idle, self._lock, self._pid = {}, threading.Lock(), os.getpid()
        idle = self._idle.get(target)
        while idle:
            try:
                http, since = idle.pop()
            except IndexError:
                break  # another thread was faster
            if time.monotonic() - since < IDLE_SECONDS_MAX and http.is_reusable():
                return http
            http.close()
        tls = self._context() if target.scheme == "https" else None
        try:
            return Http(await self.backend.connect(target, tls, self.timeout))
        except OSError as error:
            if tls is not None and type(error).__name__ == "SSLCertVerificationError":
                raise ConnectionFailed(
                    message=f"{target.authority}: {error}",
                    hint="Name a file with the server's certificate: verify=PATH, or AWS_CA_BUNDLE.",
                ) from error
            raise HttpError(str(error) or type(error).__name__, sent=False) from error

    def _keep(self, target: Target, http: Http) -> None:
        with self._lock:
            idle = self._idle.get(target)
            if idle is None:
                if len(self._idle) >= HOSTS_MAX:
                    self._close_idle()
                idle = self._idle[target] = deque()
            keep = not self.closed and len(idle) < IDLE_CONNECTIONS_MAX
            if keep:
                idle.append((http, time.monotonic()))
        if not keep:
            http.close()

    def _close_idle(self) -> None:
        for idle in self._idle.values():
            for http, _ in idle:
                http.close()
        self._idle.clear()

    def close(self) -> None:
        with self._lock:
            self.closed = True
            if self._pid == os.getpid():
                self._close_idle()

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            import ssl

            if isinstance(self._verify, ssl.SSLContext):
                self._tls = self._verify
            elif isinstance(self._verify, bool):
                bundle = os.environ.get("AWS_CA_BUNDLE") or None
                self._tls = ssl.create_default_context(cafile=bundle if self._verify else None)
                if not self._verify:
                    self._tls.check_hostname = False
                    self._tls.verify_mode = ssl.CERT_NONE
            else:
                self._tls = ssl.create_default_context(cafile=os.fspath(self._verify))
        return self._tls


def _is_retriable(request: Request, error: S3Error) -> bool:
    if error.code in _NOT_DONE or error.status in (429, 503):
        return True
    return request.idempotent and (error.status in _RETRIED_STATUSES or error.code == "BadDigest")


async def _as_it_is(answer: Answer) -> Answer:
    return answer


def _late_error(answer: Answer, body: bytes, request: Request) -> S3Error:
    """An error that was found when the head had gone out already."""
    error = error_in(answer.status, answer.headers, body, request)
    error.status = 503 if error.code in _NOT_DONE else 500 if error.code == "InternalError" else 400
    return error


async def error_of(answer: Answer, request: Request) -> S3Error:
    """The error that an answer says, in a body or, for HEAD, by its status alone."""
    try:
        body = await answer.read(ERROR_BYTES_MAX)
    except HttpError:
        body = b""
    return error_in(answer.status, answer.headers, body, request)


def error_in(status: int, headers: Mapping[str, str], body: bytes, request: Request) -> S3Error:
    code = message = request_id = ""
    headers = dict(headers)
    if body:
        try:
            tree = xml.parse(body)
        except S3Error:
            pass
        else:
            code, message = xml.text(tree, "Code"), xml.text(tree, "Message")
            request_id = xml.text(tree, "RequestId")
            headers["-region"] = xml.text(tree, "Region")
    if not code and status == 404 and request.method == "HEAD":
        # without a body nobody says what is missing
        version = any(name == "versionId" for name, _ in request.query)
        code = "NoSuchVersion" if version else "NoSuchKey" if request.key else "NoSuchBucket"
    if not message:
        message = _STATUS_MESSAGES.get(status, "")
    return class_of(code, status)(
        code,
        message,
        status=status,
        request_id=request_id or headers.get("x-amz-request-id", ""),
        resource=request.resource,
        headers=headers,
    )


_STATUS_MESSAGES = {
    304: "it is as the condition says",
    403: "the server refuses it",
    404: "it does not exist",
    412: "the condition does not hold",
}
