"""The ordered stages of a request, from its head to its answer. Read this file first.

    target -> route -> authenticate -> authorize -> bind -> operation -> answer

Routing comes before authentication, so that the action's name is known to the policy check; an
operation that is not implemented is refused after authentication, and nothing was changed.
Whatever goes wrong at any stage comes out here as S3's error document with the request's id.
"""

from __future__ import annotations

from holdfast.auth.identity import Authenticated
from holdfast.auth.sigv4 import authenticate
from holdfast.http.message import ClientDisconnected, Handler, Request, Response
from holdfast.s3 import cors
from holdfast.s3.bind import bind
from holdfast.s3.call import Call, Services
from holdfast.s3.errors import S3Error
from holdfast.s3.faults import as_s3_error
from holdfast.s3.operation import Operation
from holdfast.s3.render import error_response
from holdfast.s3.routing import make_router
from holdfast.s3.target import meant_headers, parse_target


def authorize(op: Operation, auth: Authenticated) -> None:
    """Whether the caller may do this. The root account may do everything; nobody else is known yet,
    and nothing allows anonymous requests. Raises AccessDenied."""
    if auth.credential is None or not auth.credential.is_root:
        raise S3Error("AccessDenied")


def make_handler(services: Services) -> Handler:
    """The S3 handler of a worker."""
    router = make_router()

    async def handle(request: Request) -> Response:
        try:
            response = await answer(request)
        except ClientDisconnected:
            raise
        except Exception as error:  # noqa: BLE001 - the one place where faults become answers
            response = error_response(request, as_s3_error(request, error))
        if "origin" in request.headers and request.method != "OPTIONS":
            response.headers += await cors.response_headers(services, request)
        response.headers.append(("x-amz-request-id", request.id))
        return response

    async def answer(request: Request) -> Response:
        headers = request.headers
        target = parse_target(
            request.path, request.query, headers.get("host", ""), services.domains
        )
        if request.method == "OPTIONS":
            return await cors.preflight(services, target, request)
        level, bucket, key, query = target
        meant = meant_headers(query, headers) if query else headers
        op = router.find(request.method, level, query, meant)
        auth = authenticate(
            request.method,
            request.path,
            request.query,
            headers,
            now=services.now(),
            region=services.region,
            lookup=services.lookup,
        )
        if not op.authorizes:
            authorize(op, auth)
        if op.handler is None:
            raise S3Error("NotImplemented", f"{op.name} is not implemented.")
        request.headers = meant
        inp = bind(op, meant, query)
        return await op.handler(Call(request, services, op, bucket, key, query, auth), inp)

    return handle
