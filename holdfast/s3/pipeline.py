"""The ordered stages of a request, from its head to its answer. Read this file first.

    target -> route -> authenticate -> authorize -> bind -> operation -> answer

Routing comes before authentication, so that the action's name is known to the policy check; an
operation that is not implemented is refused after authentication, and nothing was changed.
Whatever goes wrong at any stage comes out here as S3's error document with the request's id.
"""

from __future__ import annotations

from functools import partial
from time import time

from holdfast.auth.identity import ANONYMOUS, Authenticated, CredentialLookup
from holdfast.auth.sigv4 import authenticate
from holdfast.http.message import ClientDisconnected, Handler, Request, Response
from holdfast.iam.directory import NotLoaded
from holdfast.s3 import cors, website
from holdfast.s3.authorize import authenticated, authorize, concealed
from holdfast.s3.bind import bind
from holdfast.s3.call import Call, Services
from holdfast.s3.errors import S3Error
from holdfast.s3.faults import as_s3_error
from holdfast.s3.operation import OBJECT
from holdfast.s3.render import error_response
from holdfast.s3.request_payment import CHARGED_HEADER
from holdfast.s3.routing import make_router
from holdfast.s3.server_log import Seen, ServerLog
from holdfast.s3.target import meant_headers, parse_target


def make_handler(services: Services, logs: ServerLog) -> Handler:
    """The S3 handler of a worker."""
    router = make_router()

    async def handle(request: Request) -> Response:
        seen = Seen()
        if services.website_domains:
            seen.bucket = website.website_bucket(request.headers.get("host", ""), services)
        if seen.bucket:
            seen.website = True
            response = await website.respond(request, services, seen, fetch_as_anybody)
        else:
            try:
                response = await answer(request, seen)
            except ClientDisconnected:
                raise
            except Exception as fault:  # noqa: BLE001 - the one place where faults become answers
                error = as_s3_error(request, fault)
                seen.error = error.code
                response = error_response(request, error)
            if "origin" in request.headers and request.method != "OPTIONS":
                response.headers += await cors.response_headers(services, request)
        response.headers.append(("x-amz-request-id", request.id))
        if seen.bucket and not logs.skips(seen.bucket):
            await logs.observe(request, response, seen)
        return response

    async def answer(request: Request, seen: Seen) -> Response:
        headers = request.headers
        target = parse_target(
            request.path, request.query, headers.get("host", ""), services.domains
        )
        level, seen.bucket, seen.key, query = target
        if request.method == "OPTIONS":
            return await cors.preflight(services, target, request)
        meant = meant_headers(query, headers) if query else headers
        seen.op = op = router.find(request.method, level, query, meant)
        try:
            auth = _verify(services, request, services.directory.credential)
        except NotLoaded:
            auth = await authenticated(services, partial(_verify, services, request))
        request.headers = meant
        call = Call(request, services, op, target.bucket, target.key, query, auth)
        seen.requester = call.account_id
        return await _perform(call)

    async def fetch_as_anybody(request: Request, bucket: str, key: bytes) -> Response:
        op = router.find(request.method, OBJECT, {}, {})
        return await _perform(Call(request, services, op, bucket, key, {}, ANONYMOUS))

    return handle


def _verify(services: Services, request: Request, lookup: CredentialLookup) -> Authenticated:
    return authenticate(
        request.method,
        request.path,
        request.query,
        request.headers,
        # signed headers carry the client's own time, and that is measured by the machine's
        now=time() if "authorization" in request.headers else services.now(),
        region=services.region,
        lookup=lookup,
    )


async def _perform(call: Call) -> Response:
    op = call.op
    if not op.authorizes:
        await authorize(call)
    if op.handler is None:
        raise S3Error("NotImplemented", f"{op.name} is not implemented.")
    inp = bind(op, call.request.headers, call.query)
    try:
        response = await op.handler(call, inp)
    except S3Error as error:
        raise await concealed(call, error) from error
    if call.charged:
        response.headers.append(CHARGED_HEADER)
    return response
