"""The form upload: its grammar, its policy, both signatures, and what it answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from holdfast.http.message import Body
from holdfast.s3.errors import S3Error
from holdfast.s3.post_form import PRE_DATA_BYTES_MAX, PostForm, form_boundary
from holdfast.testing.server import Server

from .conftest import INLINE_BYTES_MAX
from .raw import Answer, Raw

BOUNDARY = "------the-boundary"
Fields = list[tuple[str, str]]


def encode(fields: Fields, data: bytes, filename: str = "a.txt", after: Fields = []) -> bytes:  # noqa: B006
    def part(name: str, value: bytes, more: str = "") -> bytes:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
        return head.encode() + value + b"\r\n"

    return b"".join(
        (
            *(part(name, value.encode()) for name, value in fields),
            part("file", data, f'; filename="{filename}"\r\nContent-Type: text/plain'),
            *(part(name, value.encode()) for name, value in after),
            f"--{BOUNDARY}--\r\n".encode(),
        )
    )


class Poster:
    """Signs and sends forms to one bucket."""

    def __init__(self, raw: Raw, bucket: str) -> None:
        self.raw = raw
        self.bucket = bucket

    def conditions(self, fields: Fields) -> list[Any]:
        return [{"bucket": self.bucket}, *({name: value} for name, value in fields)]

    def policy(self, conditions: list[Any], seconds: int = 600, **more: Any) -> str:
        until = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        document = {"expiration": until, "conditions": conditions, **more}
        return base64.b64encode(json.dumps(document).encode()).decode()

    def credential(self) -> Fields:
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"{now[:8]}/{self.raw.region}/s3/aws4_request"
        return [
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-credential", f"{self.raw.access_key}/{scope}"),
            ("x-amz-date", now),
        ]

    def signed(self, fields: Fields, conditions: list[Any] | None = None, **policy: Any) -> Fields:
        """The fields with a SigV4 policy; its conditions are that all is as it is here."""
        fields = [*fields, *self.credential()]
        given = self.conditions(fields) if conditions is None else conditions
        text = self.policy(
            [*given, *({n: v} for n, v in fields[-3:])] if conditions is not None else given,
            **policy,
        )
        key = f"AWS4{self.raw.secret_key}".encode()
        for part in dict(fields)["x-amz-credential"].split("/")[1:]:
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        return [*fields, ("policy", text), ("x-amz-signature", signature)]

    def signed_v2(self, fields: Fields, conditions: list[Any] | None = None) -> Fields:
        text = self.policy(self.conditions(fields) if conditions is None else conditions)
        mac = hmac.digest(self.raw.secret_key.encode(), text.encode(), "sha1")
        signature = base64.b64encode(mac).decode()
        access = ("AWSAccessKeyId", self.raw.access_key)
        return [*fields, access, ("policy", text), ("signature", signature)]

    def __call__(self, fields: Fields, data: bytes = b"data", **form: Any) -> Answer:
        return self.send(encode(fields, data, **form))

    def send(self, body: bytes, headers: dict[str, str] | None = None) -> Answer:
        head = {
            "host": self.raw.host,
            "content-type": f"multipart/form-data; boundary={BOUNDARY}",
            "content-length": str(len(body)),
            **(headers or {}),
        }
        return self.raw.send("POST", f"/{self.bucket}", "", head, body)

    def stored(self, key: str = "k") -> Answer:
        return self.raw("GET", f"/{self.bucket}/{key}")


@pytest.fixture
def post(s3_server: Server, bucket: str) -> Iterator[Poster]:
    with Raw(s3_server) as raw:
        yield Poster(raw, bucket)


KEY: Fields = [("key", "k")]


@pytest.mark.parametrize("size", [0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 5_000_000])
def test_sizes(post: Poster, size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    answer = post(post.signed(KEY), data)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["etag"] == f'"{hashlib.md5(data).hexdigest()}"'
    assert answer.headers["location"] == f"{post.raw.endpoint}/{post.bucket}/k"
    assert post.stored().body == data


def test_boto3(s3: Any, post: Poster) -> None:
    made = s3.generate_presigned_post(
        post.bucket,
        "u/${filename}",
        Fields={"x-amz-meta-a": "1", "Content-Type": "text/csv"},
        Conditions=[
            ["starts-with", "$x-amz-meta-a", "1"],
            ["starts-with", "$Content-Type", "text/"],
            ["content-length-range", 1, 10],
        ],
    )
    assert urlsplit(made["url"]).path == f"/{post.bucket}"
    answer = post(list(made["fields"].items()), filename="C:\\a\\b.csv")
    assert answer.status == 204, answer.body
    stored = post.stored("u/b.csv")
    assert stored.headers["content-type"] == "text/csv"
    assert stored.headers["x-amz-meta-a"] == "1"


def test_version_2(post: Poster) -> None:
    assert post(post.signed_v2(KEY)).status == 204
    assert post.stored().body == b"data"
    fields = post.signed_v2(KEY)
    assert post([*fields[:-1], ("signature", fields[-1][1][::-1])]).code == "SignatureDoesNotMatch"


def test_metadata(post: Poster) -> None:
    fields: Fields = [
        ("Key", "k"),
        ("Content-Type", "text/plain"),
        ("Cache-Control", "no-store"),
        ("x-amz-meta-Größe".encode("ascii", "ignore").decode(), "größer"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-ignore-this", "anything"),
    ]
    assert post(post.signed(fields)).status == 204
    stored = post.stored()
    assert stored.headers["cache-control"] == "no-store"
    assert stored.headers["x-amz-storage-class"] == "STANDARD_IA"
    assert stored.headers["x-amz-meta-gre"].encode("latin-1").decode() == "größer"


def test_success_answers(post: Poster) -> None:
    answer = post(post.signed([*KEY, ("success_action_status", "201")]))
    assert answer.status == 201
    assert answer.text("Bucket") == post.bucket
    assert answer.text("Key") == "k"
    assert answer.text("ETag") == answer.headers["etag"]
    assert answer.text("Location") == answer.headers["location"]
    assert post(post.signed([*KEY, ("success_action_status", "200")])).status == 200
    assert post(post.signed([*KEY, ("success_action_status", "404")])).status == 204
    for joint, url in (("?", "http://a.example/x"), ("&", "https://a.example/x?y=1")):
        answer = post(post.signed([*KEY, ("success_action_redirect", url)]))
        assert answer.status == 303
        assert answer.headers["location"].startswith(url + joint)
        query = parse_qs(urlsplit(answer.headers["location"]).query)
        assert (query["bucket"], query["key"]) == ([post.bucket], ["k"])
        assert query["etag"] == [answer.headers["etag"]]
    assert post(post.signed([*KEY, ("success_action_redirect", "javascript:x")])).status == 204


def test_checksums(post: Poster) -> None:
    good = base64.b64encode(hashlib.sha256(b"data").digest()).decode()
    answer = post(post.signed([*KEY, ("x-amz-checksum-sha256", good)]))
    assert answer.headers["x-amz-checksum-sha256"] == good
    bad = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    assert post(post.signed([*KEY, ("x-amz-checksum-sha256", bad)])).code == "BadDigest"
    assert post(post.signed([*KEY, ("x-amz-checksum-sha256", "x")])).code == "BadDigest"
    md5 = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    assert post(post.signed([*KEY, ("Content-MD5", md5)])).code == "BadDigest"


def test_fields_behind_the_file_are_ignored(post: Poster) -> None:
    answer = post(post.signed(KEY), after=[("submit", "x" * 100), ("key", "other")])
    assert answer.status == 204
    assert post.stored().status == 200
    assert post.stored("other").status == 404


def test_the_connection_goes_on(post: Poster) -> None:
    for _ in range(3):
        assert post(post.signed(KEY)).status == 204


def test_a_policy_that_does_not_hold(post: Poster) -> None:
    bucket = {"bucket": post.bucket}
    refused: list[tuple[Fields, list[Any], dict[str, Any]]] = [
        (KEY, [], {}),
        (KEY, [bucket], {}),
        (KEY, [bucket, {"key": "other"}], {}),
        (KEY, [bucket, {"key": "K"}], {}),
        (KEY, [bucket, ["starts-with", "$key", "x"]], {}),
        (KEY, [bucket, {"key": "k"}, {"acl": "private"}], {}),
        (KEY, [bucket, {"key": "k"}, ["starts-with", "$Content-Type", ""]], {}),
        ([*KEY, ("x-amz-meta-a", "1")], [bucket, {"key": "k"}], {}),
        ([*KEY, ("unknown", "1")], [bucket, {"key": "k"}], {}),
        ([*KEY, ("bucket", "b")], [{"bucket": "b"}, {"key": "k"}], {}),
        (KEY, [bucket, {"key": "k"}], {"seconds": -1}),
    ]
    for fields, conditions, policy in refused:
        answer = post(post.signed(fields, conditions, **policy))
        assert (answer.status, answer.code) == (403, "AccessDenied"), conditions
        assert "Invalid according to Policy" in answer.text("Message")
    assert post.stored().status == 404


def test_conditions_that_hold(post: Poster) -> None:
    fields: Fields = [("key", r"a$b"), ("Content-Type", "image/png, image/gif")]
    conditions = [
        {"BUCKET": post.bucket},
        ["StArTs-WiTh", "$KEY", "a$"],
        ["starts-with", "$content-type", "image/"],
        ["content-length-range", "4", 4],
    ]
    assert post(post.signed(fields, conditions)).status == 204
    fields[1] = ("Content-Type", "image/png, text/html")
    assert post(post.signed(fields, conditions)).status == 403


def test_escaped_dollar(post: Poster) -> None:
    """The one escape that S3's JSON has beside those of JSON."""
    fields = [("key", "a$b"), *post.credential()]
    conditions = [{"bucket": post.bucket}, *({n: v} for n, v in fields)]
    document = base64.b64decode(post.policy(conditions)).replace(b"a$b", rb"a\$b")
    text = base64.b64encode(document).decode()
    key = f"AWS4{post.raw.secret_key}".encode()
    for part in dict(fields)["x-amz-credential"].split("/")[1:]:
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    assert post([*fields, ("policy", text), ("x-amz-signature", signature)]).status == 204


def test_length_range(post: Poster) -> None:
    conditions = [{"bucket": post.bucket}, {"key": "k"}, ["content-length-range", 3, 5]]
    for size, code in ((2, "EntityTooSmall"), (6, "EntityTooLarge"), (100_000, "EntityTooLarge")):
        answer = post(post.signed(KEY, conditions), b"x" * size)
        assert (answer.status, answer.code) == (400, code)
    assert post.stored().status == 404
    for size in (3, 5):
        assert post(post.signed(KEY, conditions), b"x" * size).status == 204


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 10_000,
        b"\xff",
        b"{}",
        b'{"expiration": "2100-01-01T00:00:00Z"}',
        b'{"expiration": "2100-01-01T00:00:00Z", "conditions": {}}',
        b'{"expiration": "2100-01-01T00:00:00Z", "CONDITIONS": []}',
        b'{"conditions": []}',
        b'{"expiration": "2100-01-01", "conditions": []}',
        b'{"expiration": "2100-13-01T00:00:00Z", "conditions": []}',
        b'{"expiration": 1, "conditions": []}',
        b'{"expiration": "2100-01-01T00:00:00Z", "conditions": [{}]}',
        b'{"expiration": "2100-01-01T00:00:00Z", "conditions": [{"a": "1", "b": "2"}]}',
        b'{"expiration": "2100-01-01T00:00:00Z", "conditions": [{"a": 1}]}',
        b'{"expiration": "2100-01-01T00:00:00Z", "conditions": [["eq", "$a"]]}',
        b'{"expiration": "2100-01-01T00:00:00Z", "conditions": [["eq", "a", "b"]]}',
        b'{"expiration": "2100-01-01T00:00:00Z", "conditions": [["in", "$a", "b"]]}',
        b'{"expiration": "2100-01-01T00:00:00Z", "conditions": [["content-length-range", 0]]}',
        b'{"expiration": "2100-01-01T00:00:00Z", "conditions": [["content-length-range", -1, 0]]}',
    ],
)
def test_malformed_policies(post: Poster, document: bytes) -> None:
    text = base64.b64encode(document).decode()
    mac = hmac.digest(post.raw.secret_key.encode(), text.encode(), "sha1")
    fields = [
        *KEY,
        ("AWSAccessKeyId", post.raw.access_key),
        ("policy", text),
        ("signature", base64.b64encode(mac).decode()),
    ]
    answer = post(fields)
    assert (answer.status, answer.code) == (400, "InvalidPolicyDocument")


def changed(fields: Fields, name: str, value: str | None) -> Fields:
    kept = [(n, v) for n, v in fields if n != name]
    return kept if value is None else [*kept, (name, value)]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("x-amz-signature", "0" * 64, "SignatureDoesNotMatch"),
        ("x-amz-signature", "ä", "SignatureDoesNotMatch"),
        ("x-amz-signature", None, "InvalidArgument"),
        ("policy", None, "InvalidArgument"),
        ("policy", "e30=", "SignatureDoesNotMatch"),
        ("x-amz-algorithm", "AWS4-HMAC-SHA1", "InvalidArgument"),
        ("x-amz-algorithm", None, "InvalidArgument"),
        ("x-amz-date", "20200101T000000Z", "InvalidArgument"),
        ("x-amz-credential", "x", "InvalidArgument"),
        ("x-amz-credential", "NO/{day}/us-east-1/s3/aws4_request", "InvalidAccessKeyId"),
        ("x-amz-credential", "NO/{day}/eu-west-1/s3/aws4_request", "InvalidArgument"),
        ("x-amz-security-token", "t", "InvalidToken"),
        ("signature", "x", "InvalidArgument"),
        ("key", None, "AccessDenied"),  # the policy names one
        ("key", "other", "AccessDenied"),
    ],
)
def test_signatures(post: Poster, name: str, value: str | None, code: str) -> None:
    if value is not None:
        value = value.replace("{day}", time.strftime("%Y%m%d", time.gmtime()))
    assert post(changed(post.signed(KEY), name, value)).code == code
    assert post.stored().status == 404


def test_without_a_signature(post: Poster) -> None:
    """Nobody may write here, so nobody may by a form."""
    assert post(KEY).code == "AccessDenied"
    assert post([*KEY, ("policy", post.policy(post.conditions(KEY)))]).code == "InvalidArgument"
    assert post([]).code == "InvalidArgument"


def test_a_field_that_asks_for_what_is_not_here(post: Poster) -> None:
    for name, value in (
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-copy-source", "/b/k"),
        ("x-amz-write-offset-bytes", "1"),
    ):
        assert post(post.signed([*KEY, (name, value)])).status in (400, 501)
    assert post(post.signed([*KEY, ("x-amz-meta-a", "x\r\ny: z")])).code == "InvalidArgument"
    assert post(post.signed([("key", "k" * 1025)])).code == "KeyTooLongError"
    assert post.stored().status == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MalformedPOSTRequest"),
        (b"x" * 30_000, "MaxPostPreDataLengthExceededError"),
        (f"--{BOUNDARY}--\r\n".encode(), "InvalidArgument"),
        (f"--{BOUNDARY}\r\n\r\nx\r\n--{BOUNDARY}--".encode(), "MalformedPOSTRequest"),
        (f"--{BOUNDARY}x\r\n".encode(), "MalformedPOSTRequest"),
        (encode([("a", "x"), ("A", "y")], b""), "MalformedPOSTRequest"),
        (encode([("a", "x" * 20_480)], b""), "MaxPostPreDataLengthExceededError"),
        (encode([(f"a{n}", "x" * 100) for n in range(200)], b""), "MaxPostPreDataLengthExceeded"),
        (encode(KEY, b"data").replace(b"form-data", b"attachment"), "MalformedPOSTRequest"),
        (encode([("key", "k")], b"").replace(b"\r\nk\r\n", b"\r\n\xff\r\n"), "MalformedPOST"),
    ],
)
def test_malformed_forms(post: Poster, body: bytes, code: str) -> None:
    answer = post.send(body)
    assert answer.status == 400
    assert answer.code.startswith(code)


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_file_without_an_end(post: Poster, size: int) -> None:
    whole = encode(post.signed(KEY), b"x" * size)
    answer = post.send(whole.partition(f"\r\n--{BOUNDARY}--".encode())[0])
    assert (answer.status, answer.code) == (400, "IncompleteBody")
    # a line of the file that only begins like the boundary ends nothing
    answer = post.send(whole.replace(b"--\r\n", b"no\r\n" + b"y" * 10))
    assert (answer.status, answer.code) == (400, "MalformedPOSTRequest")
    assert post.stored().status == 404


def test_only_forms(post: Poster) -> None:
    for kind in ("", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded"):
        answer = post.send(b"x=y", {"content-type": kind})
        assert (answer.status, answer.code) == (412, "PreconditionFailed"), kind
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    signed = post.raw("POST", f"/{post.bucket}", headers={"content-type": kind}, body=b"x")
    assert signed.code == "InvalidRequest"
    chunked = post.raw.send(
        "POST",
        f"/{post.bucket}",
        "",
        {"host": post.raw.host, "content-type": kind, "transfer-encoding": "chunked"},
        b"0\r\n\r\n",
    )
    assert chunked.code == "MissingContentLength"


class Bytes(Body):
    """A body at hand."""

    def __init__(self, data: bytes) -> None:
        self.length = len(data)
        self._data = data

    def take(self) -> bytes | None:
        return None

    async def read(self, limit_bytes: int) -> bytes:
        raise NotImplementedError

    async def fill(self, view: memoryview) -> int:
        count = min(len(view), len(self._data))
        view[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


def run(make: Callable[[], Any]) -> Any:
    """Drives a coroutine that never waits."""
    coroutine = make()
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    return done.value.value


async def read_form(body: bytes, view_bytes: int) -> tuple[dict[str, str], bytes]:
    form = PostForm(Bytes(body), BOUNDARY.encode())
    await form.head()
    out = bytearray()
    view = memoryview(bytearray(view_bytes))
    while True:
        count = await form.fill(view)
        out += view[:count]
        if count < view_bytes:
            assert await form.fill(view) == 0
            return form.fields, bytes(out)


def test_the_boundary_anywhere() -> None:
    """Files whose end, and what looks like it, fall on every place of the buffer."""
    almost = f"\r\n--{BOUNDARY}"[:-1].encode()
    fields: Fields = [("a", ""), ("b", "1\r\n2")]
    for size in (*range(65_300, 65_560), *range(40)):
        data = (b"x" * size + almost + b"\r\n-" + b"\r")[: size + 30]
        parsed, out = run(partial(read_form, encode(fields, data), 4096))
        assert out == data
        assert parsed == dict(fields)


def test_head_bound() -> None:
    room = PRE_DATA_BYTES_MAX - len(encode([("a", "")], b"")) + len(f"\r\n--{BOUNDARY}--\r\n") - 2
    parsed, out = run(lambda: read_form(encode([("a", "x" * room)], b"data"), 10))
    assert (len(parsed["a"]), out) == (room, b"data")
    with pytest.raises(S3Error) as refused:
        run(lambda: read_form(encode([("a", "x" * (room + 1))], b"data"), 10))
    assert refused.value.code == "MaxPostPreDataLengthExceededError"


def test_boundary_syntax() -> None:
    assert form_boundary('Multipart/Form-Data; charset=utf-8; boundary="a b"') == b"a b"
    assert form_boundary("multipart/form-data;BOUNDARY=x;y=z") == b"x"
    for bad in (
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'x' * 71}",
        f'multipart/form-data; boundary="{"x" * 71}"',
        "multipart/mixed; boundary=x",
    ):
        with pytest.raises(S3Error):
            form_boundary(bad)
