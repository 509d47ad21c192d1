"""Whose fault it is decides the answer: every exception becomes one of S3's errors, ours are logged."""

from __future__ import annotations

import logging

from holdfast.auth.identity import AuthError
from holdfast.blobs.contract import DiskFull
from holdfast.http.message import BadBody, BodyTooLarge, Request
from holdfast.meta.commands import Refused
from holdfast.meta.contract import MetaFull, MetaUnavailable
from holdfast.s3.errors import ERRORS, S3Error

#: conditions on writes; those on reads and on a copy's source are named where they fail
_CONDITIONS = {
    "if-match": "If-Match",
    "if-none-match": "If-None-Match",
    "x-amz-if-match-last-modified-time": "x-amz-if-match-last-modified-time",
    "x-amz-if-match-size": "x-amz-if-match-size",
    "x-amz-rename-source-if-match": "x-amz-rename-source-if-match",
    "x-amz-rename-source-if-none-match": "x-amz-rename-source-if-none-match",
}

_log = logging.getLogger("holdfast.s3")


def as_s3_error(request: Request, error: BaseException) -> S3Error:
    """What the client is told; a fault of ours is logged with why."""
    if isinstance(error, S3Error):
        if error.code == "PreconditionFailed" and not error.fields:
            _name_condition(request, error)
        return error
    if isinstance(error, AuthError):
        code = error.code if error.code in ERRORS else "AccessDenied"
        known = S3Error(code, error.message, **error.fields)
        if "Region" in error.fields:
            # the answer to HEAD has no body, and SDKs sign again for the region that they are told
            known.headers = [("x-amz-bucket-region", error.fields["Region"])]
        return known
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


def refusal(result: Refused, **fields: str) -> S3Error:
    """S3's error for what the store refused. `fields`: as in S3Error."""
    if result.code == "DiskFull":
        return S3Error("InsufficientStorage")
    if result.code in ("StaleContent", "ContentGone", "PartsChanged"):
        return S3Error("ServiceUnavailable", "The content changed meanwhile. Please try again.")
    if result.code == "AccessDenied":
        return S3Error("AccessDenied", "Access Denied because object protected by object lock.")
    return S3Error(result.code, **fields)


def _name_condition(request: Request, error: S3Error) -> None:
    """S3 says which condition failed; s3fs tells by it that a file exists. The store does not say,
    so of several none is named."""
    sent = _CONDITIONS.keys() & request.headers.keys()
    if len(sent) == 1:
        error.fields["Condition"] = _CONDITIONS[sent.pop()]
