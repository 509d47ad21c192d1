"""PostObject: the upload of a browser's form.

A form is another way to write down a PutObject: once its policy is verified, its fields become
that request's headers, and everything else (permissions, versions, tags, locks) happens there.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit

from holdfast.auth.identity import ANONYMOUS, Authenticated
from holdfast.auth.post_policy import PostPolicy, authenticate_form, check_form, parse_policy
from holdfast.http.message import Request, Response
from holdfast.s3.authorize import authenticated, authorize
from holdfast.s3.bind import bind
from holdfast.s3.call import Call
from holdfast.s3.errors import S3Error
from holdfast.s3.names import check_key
from holdfast.s3.operation import BUCKET, OPERATIONS, Input, operation
from holdfast.s3.ops.write import PUT_BYTES_MAX, PutObjectInput, put_object
from holdfast.s3.payload import Payload
from holdfast.s3.post_form import PRE_DATA_BYTES_MAX, PostForm, form_boundary
from holdfast.s3.render import SYSTEM_HEADERS
from holdfast.s3.tags import parse_tag_document
from holdfast.s3.xml import DECLARATION, XML_TYPE, element

_AS_HEADER = frozenset((*SYSTEM_HEADERS, "content-md5"))
#: what S3 puts in place of the name of the file that the user chose
FILENAME_VARIABLE = "${filename}"


class FormPayload(Payload):
    """The file of a form: its length is known only when it has been read."""

    __slots__ = ("_length_max", "_length_min", "_taken")

    def __init__(self, request: Request, auth: Authenticated, policy: PostPolicy | None) -> None:
        """`request.body` is the form, read up to its file. Raises what Payload raises."""
        super().__init__(request, auth, PUT_BYTES_MAX + PRE_DATA_BYTES_MAX)
        self._taken = 0
        self._length_min = 0 if policy is None else policy.length_min
        self._length_max = PUT_BYTES_MAX
        if policy is not None and policy.length_max is not None:
            self._length_max = min(policy.length_max, PUT_BYTES_MAX)

    async def read(self) -> bytes:
        """All of it; `length` is more than it can be."""
        out = bytearray(self.length)
        with memoryview(out) as view:
            count = await self.fill(view)
        return bytes(out[:count])

    async def fill(self, view: memoryview) -> int:
        count = await super().fill(view)
        self._taken += count
        if self._taken > self._length_max:
            raise S3Error(
                "EntityTooLarge",
                ProposedSize=str(self._taken),
                MaxSizeAllowed=str(self._length_max),
            )
        return count

    def verify(self, size: int, md5: bytes, sha256: bytes | None, checksum: bytes | None) -> None:
        if size < self._length_min:
            raise S3Error(
                "EntityTooSmall", ProposedSize=str(size), MinSizeAllowed=str(self._length_min)
            )
        self.length = size
        super().verify(size, md5, sha256, checksum)


@operation("PostObject", "POST", BUCKET, action="s3:PutObject", authorizes=True)
async def post_object(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html"""
    request = call.request
    boundary = form_boundary(request.headers.get("content-type", ""))
    if call.auth.credential is not None:
        raise S3Error("InvalidRequest", "A form is signed by its policy, not by its request.")
    if request.body.length is None:
        raise S3Error("MissingContentLength")
    form = PostForm(request.body, boundary)
    await form.head()
    bucket = await call.bucket()
    fields = {
        name: value.replace(FILENAME_VARIABLE, form.filename) for name, value in form.fields.items()
    }
    fields["bucket"] = bucket.name
    services = call.services
    credential = await authenticated(
        services,
        lambda lookup: authenticate_form(fields, region=services.region, lookup=lookup),
    )
    policy = None
    if "policy" in fields:
        policy = parse_policy(fields["policy"])
        check_form(policy, fields, services.now())
    key = _key(fields)
    put = OPERATIONS["PutObject"]
    headers = _headers(fields)
    headers["content-length"] = str(form.length)
    for name in ("host", "user-agent"):
        if name in request.headers:
            headers[name] = request.headers[name]
    put_request = Request(
        "PUT",
        f"/{quote(bucket.name)}/{quote(key)}",
        "",
        headers,
        form,
        request.peer,
        request.secure,
        request.received_at,
        request.id,
    )
    auth = ANONYMOUS._replace(credential=credential)
    put_call = Call(put_request, services, put, bucket.name, key, {}, auth)
    await authorize(put_call)
    put_input = bind(put, headers, {})
    assert isinstance(put_input, PutObjectInput)
    done = await put_object(put_call, put_input, FormPayload(put_request, auth, policy))
    return _answer(request, fields, bucket.name, key.decode(), done)


def _key(fields: dict[str, str]) -> bytes:
    key = fields.get("key", "").encode("utf-8")
    if not key:
        raise S3Error(
            "InvalidArgument",
            "Bucket POST must contain a field named 'key'.  If it is specified, please check the "
            "order of the fields.",
            ArgumentName="key",
            ArgumentValue="",
        )
    check_key(key)
    return key


def _headers(fields: dict[str, str]) -> dict[str, str]:
    """The headers of the PutObject that the form means."""
    headers = {
        name: value
        for name, value in fields.items()
        if name in _AS_HEADER or name.startswith("x-amz-")
    }
    for field, header in (("acl", "x-amz-acl"), ("tagging", "x-amz-tagging")):
        if field in fields and header in headers:
            raise S3Error("InvalidArgument", ArgumentName=header, ArgumentValue=headers[header])
    if "acl" in fields:
        headers["x-amz-acl"] = fields["acl"]
    if "tagging" in fields:
        headers["x-amz-tagging"] = urlencode(parse_tag_document(fields["tagging"].encode("utf-8")))
    for name, value in headers.items():
        if any(ord(char) < 32 or ord(char) == 127 for char in value):
            raise S3Error("InvalidArgument", ArgumentName=name, ArgumentValue=value)
        headers[name] = value.encode("utf-8").decode("latin-1")
    return headers


def _answer(
    request: Request, fields: dict[str, str], bucket: str, key: str, done: Response
) -> Response:
    """What the form asked for after a success; `done` is PutObject's answer."""
    etag = next(value for name, value in done.headers if name == "ETag")
    redirect = _redirect(fields.get("success_action_redirect") or fields.get("redirect", ""))
    if redirect:
        joint = "&" if urlsplit(redirect).query else "?"
        query = urlencode({"bucket": bucket, "key": key, "etag": etag})
        return Response(303, [*done.headers, ("Location", f"{redirect}{joint}{query}")])
    host = request.headers.get("host", "")
    scheme = "https" if request.secure else "http"
    location = f"{scheme}://{host}{quote(request.path.rstrip('/'), safe='/%')}/{quote(key)}"
    headers = [*done.headers, ("Location", location)]
    status = fields.get("success_action_status", "")
    if status == "201":
        body = (
            f"{DECLARATION}<PostResponse>{element('Location', location)}"
            f"{element('Bucket', bucket)}{element('Key', key)}{element('ETag', etag)}"
            "</PostResponse>"
        )
        return Response(201, [*headers, XML_TYPE], body.encode())
    return Response(200 if status == "200" else 204, headers)


def _redirect(url: str) -> str:
    """The URL to go on to, "" when it is none: then S3 answers as if there were no such field."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    usable = url.isascii() and url.isprintable() and " " not in url
    return url if usable and parts.scheme in ("http", "https") and parts.netloc else ""
