"""Where keys, endpoint and region come from, and where requests go."""

from __future__ import annotations

import inspect
import pickle
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import holdfast
from holdfast.client import (
    AccessDenied,
    AsyncObjectReader,
    AsyncObjectStore,
    Credentials,
    CredentialsNotFound,
    InvalidRequest,
    NoSuchKey,
    ObjectReader,
    ObjectStore,
    S3Error,
)
from holdfast.client.address import Addresser, Request
from holdfast.client.credentials import Identity, resolve
from holdfast.client.errors import ALL, class_of

ROOT = Path(__file__).resolve().parents[2]
KEYS = Credentials("AK", "SK")


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    directory = tmp_path / ".aws"
    directory.mkdir()
    (directory / "config").write_text(
        "[default]\nregion = eu-west-1\n"
        "[profile work]\nregion = eu-north-1\nservices = local\nendpoint_url = https://all.test\n"
        "[services local]\ns3 =\n  endpoint_url = http://s3.test:9000\n"
        "[profile other]\nendpoint_url = https://other.test\n"
        "aws_access_key_id = other-key\naws_secret_access_key = other-secret\n"
    )
    (directory / "credentials").write_text(
        "[default]\naws_access_key_id = file-key\naws_secret_access_key = file%secret\n"
        "[work]\naws_access_key_id = work-key\naws_secret_access_key = s\naws_session_token = t\n"
    )
    return {"HOME": str(tmp_path)}


def test_profiles(home: dict[str, str]) -> None:
    plain = resolve(environ=home)
    assert plain == Identity("", "eu-west-1", Credentials("file-key", "file%secret"))
    work = Identity("http://s3.test:9000", "eu-north-1", Credentials("work-key", "s", "t"))
    assert resolve(profile="work", environ=home) == work
    assert resolve(environ=home | {"AWS_PROFILE": "work"}) == work
    assert resolve(profile="other", environ=home).endpoint == "https://other.test"
    with pytest.raises(CredentialsNotFound, match="There are: default, other, work"):
        resolve(profile="none", environ=home)


def test_which_source_wins(home: dict[str, str]) -> None:
    aws = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    env = home | aws | {"AWS_REGION": "r", "AWS_ENDPOINT_URL": "http://e.test"}
    assert resolve(environ=env) == Identity("http://e.test", "r", Credentials("a", "b", "c"))
    env["AWS_ENDPOINT_URL_S3"] = "http://s3-only.test"
    assert resolve(environ=env).endpoint == "http://s3-only.test"
    assert resolve(environ=env | {"HOLDFAST_ENDPOINT": "http://h.test"}).endpoint == "http://h.test"
    named = resolve(profile="work", environ=env)
    assert (named.endpoint, named.region) == ("http://s3.test:9000", "eu-north-1")
    assert named.credentials == Credentials("work-key", "s", "t")
    env |= {"HOLDFAST_ACCESS_KEY": "h", "HOLDFAST_SECRET_KEY": "i"}
    assert resolve(environ=env).credentials == Credentials("h", "i")
    in_url = resolve("http://u:p%2Fw@host:1", environ=env)
    assert in_url == Identity("http://host:1", "r", Credentials("u", "p/w"))
    argument = resolve("http://u:p@host", access_key="x", secret_key="y", environ=env)
    assert argument.credentials == Credentials("x", "y")
    assert resolve(anonymous=True, environ=env).credentials is None
    assert resolve("localhost:9000", environ=env).endpoint == "http://localhost:9000"


def test_what_is_missing_or_wrong(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path)}
    with pytest.raises(CredentialsNotFound, match="AWS_ACCESS_KEY_ID"):
        resolve(environ=env)
    with pytest.raises(CredentialsNotFound, match="together"):
        resolve(access_key="a", environ=env)
    for url in ("ftp://x", "http://", "http://host/bucket", "http://host/?a=b"):
        with pytest.raises(InvalidRequest):
            resolve(url, environ=env | {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("no section = 1\n")
    with pytest.raises(CredentialsNotFound, match="can't be read"):
        resolve(environ=env)


def test_keys_that_are_renewed() -> None:
    made: list[Credentials] = []

    def renew() -> Credentials:
        made.append(Credentials(f"key{len(made)}", "s", "t", expires=0.0))
        return made[-1]

    addresser = Addresser(Identity("http://h", "r", renew))
    heads = [addresser.signed(Request("GET", "bkt")).head.decode() for _ in range(2)]
    assert "Credential=key0/" in heads[0]
    assert "Credential=key1/" in heads[1]
    assert "x-amz-security-token: t" in heads[1]


def _where(identity: Identity, bucket: str, **options: str) -> str:
    target, path = Addresser(identity, addressing=options.get("addressing", "auto")).locate(
        bucket, "a b/ü"
    )
    return f"{target.scheme}://{target.authority}{path}"


@pytest.mark.parametrize(
    ("endpoint", "bucket", "options", "url"),
    [
        ("", "bkt", {}, "https://bkt.s3.eu-west-1.amazonaws.com/a%20b/%C3%BC"),
        ("", "b.kt", {}, "https://s3.eu-west-1.amazonaws.com/b.kt/a%20b/%C3%BC"),
        ("http://h:9000", "bkt", {}, "http://h:9000/bkt/a%20b/%C3%BC"),
        ("https://h", "bkt", {"addressing": "virtual"}, "https://bkt.h/a%20b/%C3%BC"),
        ("http://[::1]:9", "bkt", {}, "http://[::1]:9/bkt/a%20b/%C3%BC"),
        ("", "bkt", {"addressing": "path"}, "https://s3.eu-west-1.amazonaws.com/bkt/a%20b/%C3%BC"),
        (
            "https://s3.eu-west-1.amazonaws.com",
            "bkt",
            {},
            "https://bkt.s3.eu-west-1.amazonaws.com/a%20b/%C3%BC",
        ),
        ("https://notamazonaws.com", "bkt", {}, "https://notamazonaws.com/bkt/a%20b/%C3%BC"),
    ],
)
def test_where_requests_go(
    endpoint: str, bucket: str, options: Mapping[str, str], url: str
) -> None:
    assert _where(Identity(endpoint, "eu-west-1", KEYS), bucket, **options) == url


def test_redirects_stay_within_aws() -> None:
    aws = Addresser(Identity("", "us-east-1", KEYS))
    assert aws.learn_region("bkt", "eu-west-1")
    assert not aws.learn_region("bkt", "eu-west-1")
    assert aws.locate("bkt", "k")[0].host == "bkt.s3.eu-west-1.amazonaws.com"
    assert aws.learn_host("bkt", "https://bkt.s3-x.amazonaws.com/k")
    assert aws.locate("bkt", "k")[0].host == "bkt.s3-x.amazonaws.com"
    assert not aws.learn_host("bkt", "https://evil.test/k")
    assert not Addresser(Identity("http://h", "r", KEYS)).learn_host("bkt", "https://evil.test/k")


def test_what_is_signed() -> None:
    """Bodies are signed where nothing else guards them: no TLS, and not this machine."""
    for endpoint, signed in (
        ("http://localhost:9000", False),
        ("http://127.0.0.1", False),
        ("https://far.test", False),
        ("http://far.test", True),
    ):
        addresser = Addresser(Identity(endpoint, "r", KEYS))
        head = addresser.signed(Request("PUT", "bkt", "k", body=(b"x",))).head
        assert (b"UNSIGNED-PAYLOAD" not in head) is signed


def test_errors_are_one_hierarchy() -> None:
    codes = [code for kind in ALL for code in kind.__dict__.get("codes", ())]
    assert len(codes) == len(set(codes))
    assert class_of("NoSuchKey", 404) is NoSuchKey
    assert class_of("SomethingNew", 403) is AccessDenied
    assert issubclass(class_of("SomethingNew", 418), S3Error)
    error = NoSuchKey(message="m", status=404, request_id="r", resource="b/k")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (NoSuchKey, str(error))
    assert str(error).startswith("NoSuchKey: m (b/k) [HTTP 404, request r] Check the key")


def _public(kind: type) -> dict[str, str]:
    return {
        name: re.sub(r"\).*$", "", str(inspect.signature(method)))
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


def test_both_faces_are_the_same() -> None:
    one, other = _public(ObjectStore), _public(AsyncObjectStore)
    for name in ("connect", "connect_async"):
        one.pop(name)
    for name in ("open_object", "save_stream"):
        other.pop(name)
    assert one == other
    assert _public(AsyncObjectReader).keys() <= _public(ObjectReader).keys()


def test_the_list_of_methods_is_whole() -> None:
    text = (ROOT / "docs" / "client.md").read_text()
    for name in _public(ObjectStore):
        assert re.search(rf"^(?:ObjectStore\.)?{name}\(", text, re.MULTILINE), name


def test_importing_holdfast_stays_cheap() -> None:
    """Neither the client nor the server is loaded before it is used."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, holdfast\n"
            "assert 'holdfast.client' not in sys.modules\n"
            "holdfast.ObjectStore\n"
            "loaded = {'asyncio', 'ssl', '_awscrt', 'configparser', 'holdfast.s3'} & set(sys.modules)\n"
            "assert not loaded, loaded\n",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError):
        holdfast.nothing  # noqa: B018
