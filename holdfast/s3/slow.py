"""Operations that may take long: the answer's head goes out in time, the rest when it is known.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html: S3 sends 200 and
then white space until the operation is done; an error then stands in the body of the 200.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from holdfast.http.message import Request, Response
from holdfast.s3.faults import as_s3_error
from holdfast.s3.render import error_response
from holdfast.s3.xml import DECLARATION, XML_TYPE

#: how long a client waits for the first byte, and between white space after it
PATIENCE_SECONDS = 5.0


#: the loop keeps only weak references to its tasks
_unfinished: set[asyncio.Task[Response]] = set()


async def answer_in_time(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The response of `work` when it is there in time, else one that begins at once.

    `work` reads nothing of the request's body, and its response's body is a whole document. It is
    never given up: what it began is finished, whether or not the client stays.
    """
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait((task,), timeout=PATIENCE_SECONDS)
    if done:
        return task.result()
    whole = asyncio.ensure_future(_whole(request, task))
    _unfinished.add(whole)
    whole.add_done_callback(_unfinished.discard)
    return Response(200, [XML_TYPE], _drip(whole))


async def _whole(request: Request, task: asyncio.Task[Response]) -> Response:
    """The response of `task`, or its error's: the pipeline is through, so this answers for it."""
    try:
        return await task
    except Exception as error:  # noqa: BLE001 - every fault becomes S3's document
        return error_response(request, as_s3_error(request, error))


async def _drip(whole: asyncio.Task[Response]) -> AsyncIterator[bytes]:
    yield DECLARATION.encode()
    while not (await asyncio.wait((whole,), timeout=PATIENCE_SECONDS))[0]:
        yield b" "
    response = whole.result()
    assert isinstance(response.body, bytes)
    yield response.body.removeprefix(DECLARATION.encode())
