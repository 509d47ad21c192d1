"""In front of the S3 handler of a test's server: sees every request, and injects the faults.

Rule: which operation a request means is S3's own routing; what is not routed is still seen. The
handler behind is the one that `holdfast serve` runs, unchanged.
"""

from __future__ import annotations

import asyncio
import re

from holdfast.http.message import ClientDisconnected, FileBody, Handler, Request, Response
from holdfast.http.send import dispose
from holdfast.iam.directory import NotLoaded
from holdfast.s3.call import Services
from holdfast.s3.errors import S3Error
from holdfast.s3.pipeline import make_handler
from holdfast.s3.render import error_response
from holdfast.s3.routing import Router, make_router
from holdfast.s3.server_log import ServerLog
from holdfast.s3.target import meant_headers, parse_target
from holdfast.s3.website import website_bucket
from holdfast.testing.bodies import Upload, shape
from holdfast.testing.faults import Due, Failure, Faults
from holdfast.testing.record import RequestLog, SeenRequest

#: S3's errors that say that it is not known who asks
_NOT_BELIEVED = frozenset(("InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"))

_CODE = re.compile(rb"<Code>([^<]+)</Code>")
_CREDENTIAL = re.compile(r"Credential=([^/,\s%&]+)(?:/|%2[Ff])")


class Front:
    """What one server sees and injects. `services` from when it serves."""

    def __init__(self) -> None:
        self.requests = RequestLog()
        self.faults = Faults()
        self.services: Services

    def make_handler(self, services: Services, logs: ServerLog) -> Handler:
        """In place of s3.pipeline's."""
        self.services = services
        router = make_router()
        inner = make_handler(services, logs)

        async def handle(request: Request) -> Response:
            operation, bucket, key = _meaning(request, services, router)
            due = self.faults.take(operation, bucket, key)
            request.body = upload = Upload(request.body, due.cut_upload, due.throttle)
            headers = request.headers  # the handler puts others in their place
            user = await _claimed_user(services, request)

            def note(status: int, error: str, sent_bytes: int) -> None:
                self.requests.add(
                    SeenRequest(
                        operation,
                        bucket,
                        key,
                        status,
                        error,
                        request.method,
                        request.path,
                        request.query,
                        headers,
                        upload.received,
                        sent_bytes,
                        "" if error in _NOT_BELIEVED else user,
                        due.kinds,
                    )
                )

            try:
                response = await _answer(request, inner, due)
                sent_bytes = await _spoil(request, response, due)
            except ClientDisconnected:
                note(0, "", 0)
                raise
            note(response.status, _error_code(response), sent_bytes)
            return response

        return handle


def _meaning(request: Request, services: Services, router: Router) -> tuple[str, str, str]:
    """(operation, bucket, key), each as far as the request tells."""
    host = request.headers.get("host", "")
    bucket = website_bucket(host, services) if services.website_domains else ""
    if bucket:
        return "", bucket, ""
    try:
        level, bucket, key, query = parse_target(
            request.path, request.query, host, services.domains
        )
    except S3Error:
        return "", "", ""
    try:
        op = router.find(request.method, level, query, meant_headers(query, request.headers))
    except S3Error:
        return "", bucket, key.decode()
    return op.name, bucket, key.decode()


async def _claimed_user(services: Services, request: Request) -> str:
    """The display name of the owner of the access key that the request names; "" for none."""
    named = _CREDENTIAL.search(request.headers.get("authorization", request.query))
    if named is None:
        return ""
    directory = services.directory
    try:
        return directory.credential(named[1]).display_name
    except NotLoaded:
        credential = await directory.load(named[1])
        return "" if credential is None else credential.display_name


async def _answer(request: Request, inner: Handler, due: Due) -> Response:
    if due.delay is not None:
        await asyncio.sleep(due.delay)
    if due.fail is not None:
        response = error_response(request, _as_error(due.fail))
        response.headers.append(("x-amz-request-id", request.id))
        return response
    if due.cut_upload is not None and request.body.length == 0:
        raise ClientDisconnected("cut off by a test")
    return await inner(request)


def _as_error(failure: Failure) -> S3Error:
    """Also with a code that S3 has and this server never answers."""
    error = S3Error("InternalError", failure.message)
    error.code, error.status = failure.code, failure.status
    return error


async def _spoil(request: Request, response: Response, due: Due) -> int:
    """Let the answer break off or go slowly; the bytes of its body that are sent."""
    bodiless = request.method == "HEAD" or response.body == b""
    if due.drop_answer or (due.cut_download is not None and bodiless):
        await dispose(response.body)
        raise ClientDisconnected("the answer was dropped by a test")
    if not bodiless and (due.cut_download is not None or due.throttle is not None):
        return shape(response, due.cut_download, due.throttle)
    if bodiless:
        return 0
    if isinstance(response.body, FileBody):
        return response.body.length
    return len(response.body) if isinstance(response.body, bytes) else 0


def _error_code(response: Response) -> str:
    if response.status < 300 or not isinstance(response.body, bytes):
        return ""
    code = _CODE.search(response.body)
    return code[1].decode() if code else ""
