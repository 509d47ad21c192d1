"""What goes wrong, as one hierarchy: S3's error code chooses the class, the class says what to do.

Rule: a code has one class; a code that has none falls back to the class of its status. The codes are
S3's own: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from collections.abc import Mapping


class S3Error(Exception):
    """`code` and `message` are the server's (or this client's, with status 0); `hint` says what to
    do, "" where there is nothing to say; `resource` is what the request was for."""

    #: the codes of this class, S3's and that of an error made here
    codes: tuple[str, ...] = ()
    #: what to do about it
    advice = ""

    def __init__(
        self,
        code: str = "",
        message: str = "",
        *,
        status: int = 0,
        request_id: str = "",
        resource: str = "",
        hint: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.code = code or (self.codes[0] if self.codes else type(self).__name__)
        self.message = message
        self.status = status
        self.request_id = request_id
        self.resource = resource
        self.hint = hint or self.advice
        self.headers: Mapping[str, str] = headers or {}
        super().__init__(self.code, message)

    def __str__(self) -> str:
        about = f" ({self.resource})" if self.resource else ""
        text = f"{self.code}: {self.message or 'no message'}{about}"
        if self.status:
            request = f", request {self.request_id}" if self.request_id else ""
            text += f" [HTTP {self.status}{request}]"
        return f"{text} {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        return _remade, (type(self), self.__dict__)


def _remade(kind: type[S3Error], state: dict[str, object]) -> S3Error:
    error = kind(str(state["code"]), str(state["message"]))
    error.__dict__.update(state)
    return error


class NotFound(S3Error):
    """404: what the request names does not exist."""

    codes: tuple[str, ...] = (
        "NotFound",
        "NoSuchTagSet",
        "NoSuchBucketPolicy",
        "NoSuchConfiguration",
    )


class NoSuchKey(NotFound):
    codes: tuple[str, ...] = ("NoSuchKey",)
    advice = "Check the key, upper and lower case included; its bucket may not exist either."


class NoSuchBucket(NotFound):
    codes: tuple[str, ...] = ("NoSuchBucket",)
    advice = "Make it with create_bucket, or check the name and the endpoint."


class NoSuchVersion(NotFound):
    codes: tuple[str, ...] = ("NoSuchVersion",)
    advice = "list_versions shows which versions there are."


class NoSuchUpload(NotFound):
    codes: tuple[str, ...] = ("NoSuchUpload",)
    advice = "The upload was completed, aborted or expired; begin it anew."


class NotModified(S3Error):
    """304: the condition of a read says that the caller has it already."""

    codes: tuple[str, ...] = ("NotModified",)


class PreconditionFailed(S3Error):
    """412, or 409 where a concurrent write won: the condition does not hold, nothing was done."""

    codes: tuple[str, ...] = ("PreconditionFailed", "ConditionalRequestConflict")
    advice = "The object is not as the condition says; read it again and decide anew."


class AccessDenied(S3Error):
    """403."""

    codes: tuple[str, ...] = (
        "AccessDenied",
        "AllAccessDisabled",
        "AccountProblem",
        "MethodNotAllowed",
    )
    advice = "The keys are known but may not do this: check policies, ownership and object lock."


class InvalidAccessKeyId(AccessDenied):
    codes: tuple[str, ...] = ("InvalidAccessKeyId",)
    advice = "The server does not know the access key; check which keys and endpoint are in use."


class SignatureDoesNotMatch(AccessDenied):
    codes: tuple[str, ...] = ("SignatureDoesNotMatch",)
    advice = "Check the secret key, and that no proxy changes headers or path."


class ExpiredToken(AccessDenied):
    codes: tuple[str, ...] = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")
    advice = "Get new temporary keys."


class RequestTimeTooSkewed(AccessDenied):
    codes: tuple[str, ...] = ("RequestTimeTooSkewed",)
    advice = "Set this machine's clock."


class BucketAlreadyExists(S3Error):
    """409: the name is taken."""

    codes: tuple[str, ...] = ("BucketAlreadyExists",)
    advice = "Choose another name."


class BucketAlreadyOwnedByYou(BucketAlreadyExists):
    codes: tuple[str, ...] = ("BucketAlreadyOwnedByYou",)
    advice = "It is yours already; create_bucket(…, exist_ok=True) takes it as it is."


class BucketNotEmpty(S3Error):
    codes: tuple[str, ...] = ("BucketNotEmpty",)
    advice = "delete_bucket(…, force=True) deletes all that is in it, every version included."


class InvalidRange(S3Error):
    """416."""

    codes: tuple[str, ...] = ("InvalidRange", "InvalidPartNumber")


class InvalidRequest(S3Error):
    """Another 4xx: the request is wrong as it is."""

    codes: tuple[str, ...] = (
        "InvalidRequest",
        "InvalidArgument",
        "MalformedXML",
        "InvalidBucketName",
    )


class InvalidPart(InvalidRequest):
    codes: tuple[str, ...] = ("InvalidPart", "InvalidPartOrder", "EntityTooSmall")


class EntityTooLarge(InvalidRequest):
    codes: tuple[str, ...] = ("EntityTooLarge",)


class ChecksumMismatch(S3Error):
    """What arrived, there or here, is not what was sent."""

    codes: tuple[str, ...] = (
        "ChecksumMismatch",
        "BadDigest",
        "XAmzContentSHA256Mismatch",
        "InvalidDigest",
    )
    advice = "The data changed on its way or while it was read; nothing of it was kept."


class ServerError(S3Error):
    """5xx, after all retries."""

    codes: tuple[str, ...] = ("InternalError",)
    advice = "The server is at fault; its log has the request id."


class SlowDown(ServerError):
    codes: tuple[str, ...] = (
        "SlowDown",
        "ServiceUnavailable",
        "RequestTimeout",
        "TooManyRequests",
        "Busy",
    )
    advice = "The server is busy; try again later, or with less concurrency."


class NotImplementedByServer(ServerError):
    codes: tuple[str, ...] = ("NotImplemented",)
    advice = "The server does not have this; for checksums try TransferConfig(checksum=None)."


class ConnectionFailed(S3Error):
    """No answer, after all retries: refused, cut, timed out, or not HTTP."""

    codes: tuple[str, ...] = ("ConnectionFailed",)
    advice = "Check the endpoint, and that the server runs."


class CredentialsNotFound(S3Error):
    """No keys, or a profile that does not exist."""

    codes: tuple[str, ...] = ("CredentialsNotFound",)
    advice = (
        "Give access_key and secret_key, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a "
        "profile of ~/.aws, or pass anonymous=True."
    )


def _classes(kind: type[S3Error]) -> list[type[S3Error]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _classes(child))]


ALL: tuple[type[S3Error], ...] = tuple(_classes(S3Error))
_BY_CODE: dict[str, type[S3Error]] = {code: kind for kind in ALL for code in kind.codes}
_BY_STATUS: dict[int, type[S3Error]] = {
    304: NotModified,
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    409: InvalidRequest,
    412: PreconditionFailed,
    416: InvalidRange,
    429: SlowDown,
    501: NotImplementedByServer,
    503: SlowDown,
}


def class_of(code: str, status: int) -> type[S3Error]:
    fallback = InvalidRequest if 400 <= status < 500 else ServerError if status >= 500 else S3Error
    return _BY_CODE.get(code) or _BY_STATUS.get(status) or fallback
