"""Whose fault it is decides the answer: every exception becomes one of S3's errors, ours are logged."""

from __future__ import annotations

import logging

from holdfast.auth.identity import AuthError
from holdfast.blobs.contract import DiskFull
from holdfast.http.message import BadBody, BodyTooLarge, Request
from holdfast.meta.contract import MetaFull, MetaUnavailable
from holdfast.s3.errors import ERRORS, S3Error

_log = logging.getLogger("holdfast.s3")


def as_s3_error(request: Request, error: BaseException) -> S3Error:
    """What the client is told; a fault of ours is logged with why."""
    if isinstance(error, S3Error):
        return error
    if isinstance(error, AuthError):
        code = error.code if error.code in ERRORS else "AccessDenied"
        return S3Error(code, error.message, **error.fields)
    if isinstance(error, BodyTooLarge):
        return S3Error("MaxMessageLengthExceeded")
    if isinstance(error, BadBody):
        return S3Error("IncompleteBody", str(error) or None)
    if isinstance(error, (DiskFull, MetaFull)):
        _log.error("request %s: the disk is full: %s", request.id, error)
        return S3Error("InsufficientStorage")
    if isinstance(error, MetaUnavailable):
        _log.error("request %s: metadata unavailable: %s", request.id, error)
        return S3Error("ServiceUnavailable")
    _log.error("request %s: %s %s", request.id, request.method, request.path, exc_info=error)
    return S3Error("InternalError")
