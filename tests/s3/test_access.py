"""Who may ask and how: presigned URLs, anonymous and old signatures, virtual hosts, TLS."""

from __future__ import annotations

import datetime
import ipaddress
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from holdfast.testing.server import Server

from .conftest import DOMAIN, make_client
from .raw import STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER, Raw
from .test_integrity import DIGESTS, checksum
from .test_objects import MIB, noise


def test_presigned_get(raw: Raw, bucket: str) -> None:
    raw("PUT", f"/{bucket}/a%20b", body=b"data")
    path, query = raw.presign("GET", f"/{bucket}/a%20b", "response-content-type=text%2Fplain")
    answer = raw.send("GET", path, query, {"host": raw.host})
    assert (answer.status, answer.body) == (200, b"data")
    assert answer.headers["content-type"] == "text/plain"


def test_presigned_put(raw: Raw, bucket: str) -> None:
    path, query = raw.presign("PUT", f"/{bucket}/k")
    for size in (10, 100_000):
        data = noise(size)
        headers = {"host": raw.host, "content-length": str(size)}
        assert raw.send("PUT", path, query, headers, data).status == 200
        assert raw("GET", f"/{bucket}/k").body == data


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("expired", "AccessDenied"),
        ("future", "AccessDenied"),
        ("other method", "SignatureDoesNotMatch"),
        ("other key", "SignatureDoesNotMatch"),
        ("added parameter", "SignatureDoesNotMatch"),
        ("too long", "AuthorizationQueryParametersError"),
    ],
)
def test_presigned_refusals(raw: Raw, bucket: str, change: str, code: str) -> None:
    raw("PUT", f"/{bucket}/k", body=b"kept")
    now = time.time()
    signed_at = {"expired": now - 700, "future": now + 1000}.get(change, now)
    expires = 8 * 24 * 3600 if change == "too long" else 600
    path, query = raw.presign("GET", f"/{bucket}/k", now=signed_at, expires_seconds=expires)
    method = "DELETE" if change == "other method" else "GET"
    path += "2" if change == "other key" else ""
    query += "&response-content-type=x" if change == "added parameter" else ""
    answer = raw.send(method, path, query, {"host": raw.host})
    assert answer.code == code
    assert raw("GET", f"/{bucket}/k").body == b"kept"


@pytest.mark.parametrize(("version", "status"), [("s3v4", 200), ("s3", 400)])
def test_presigned_by_boto3(
    s3_server: Server, raw: Raw, bucket: str, version: str, status: int
) -> None:
    """In us-east-1 boto3 presigns by version 2 unless it is told otherwise (docs/clients.md)."""
    with closing(make_client(s3_server, signature_version=version)) as s3:
        url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "ä b"})
    path, _, query = url.removeprefix(raw.endpoint).partition("?")
    headers = {"host": raw.host, "content-length": "4"}
    assert raw.send("PUT", path, query, headers, b"data").status == status
    assert raw("GET", path).status == (200 if status == 200 else 404)


def test_anonymous_requests_are_denied(raw: Raw, bucket: str) -> None:
    raw("PUT", f"/{bucket}/k", body=b"kept")
    headers = {"host": raw.host, "content-length": "0"}
    for method, path, query in (
        ("GET", "/", ""),
        ("GET", f"/{bucket}", ""),
        ("GET", f"/{bucket}/k", ""),
        ("PUT", f"/{bucket}/k", ""),
        ("DELETE", f"/{bucket}/k", ""),
        ("DELETE", f"/{bucket}", ""),
        ("POST", f"/{bucket}", "delete"),
        ("PUT", "/new-bucket", ""),
    ):
        answer = raw.send(method, path, query, headers)
        assert (answer.status, answer.code) == (403, "AccessDenied"), (method, path)
    assert raw.send("GET", "/missing-bucket/k", "", headers).code == "NoSuchBucket"
    assert raw("GET", f"/{bucket}/k").body == b"kept"
    assert raw("HEAD", "/new-bucket").status == 404


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"authorization": "AWS AKIDEXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg="}, ""),
        ({}, "AWSAccessKeyId=AKIDEXAMPLE&Expires=4102444800&Signature=x"),
    ],
)
def test_signature_version_2_is_refused_with_advice(
    raw: Raw, bucket: str, headers: dict[str, str], query: str
) -> None:
    answer = raw.send("GET", f"/{bucket}/k", query, {"host": raw.host, **headers})
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert "AWS4-HMAC-SHA256" in answer.text("Message")


def test_wrong_keys(raw: Raw, s3_server: Server) -> None:
    arguments = s3_server.client_arguments()
    for change, code in (
        ({"aws_secret_access_key": "wrong"}, "SignatureDoesNotMatch"),
        ({"aws_access_key_id": "NOBODY"}, "InvalidAccessKeyId"),
        ({"region_name": "eu-west-1"}, "AuthorizationHeaderMalformed"),
    ):
        with (
            closing(boto3.client("s3", **{**arguments, **change})) as client,
            pytest.raises(ClientError, match=code),
        ):
            client.list_buckets()


def test_a_skewed_clock(raw: Raw, bucket: str) -> None:
    headers = raw.sign("GET", f"/{bucket}", now=time.time() - 16 * 60)
    answer = raw.send("GET", f"/{bucket}", "", headers)
    assert (answer.status, answer.code) == (403, "RequestTimeTooSkewed")


# --- virtual-host style ----------------------------------------------------------------------


@pytest.mark.parametrize("port", ["", ":9000"])
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_virtual_hosts(raw: Raw, bucket: str, port: str, case: Callable[[str], str]) -> None:
    host = {"host": case(f"{bucket}.{DOMAIN}") + port}
    assert raw("PUT", "/dir/k", headers=host, body=b"data").status == 200
    assert raw("GET", f"/{bucket}/dir/k").body == b"data"
    assert raw("GET", "/dir/k", headers=host).body == b"data"
    assert raw("GET", "/", "list-type=2", headers=host).texts("Contents/Key") == ["dir/k"]
    assert raw("HEAD", "/", headers=host).status == 200
    assert raw("PUT", "//k", headers=host, body=b"odd").status == 200
    assert raw("GET", f"/{bucket}//k").body == b"odd"
    for key in ("dir/k", "/k"):
        raw("DELETE", f"/{key}", headers=host)
    assert raw("DELETE", "/", headers=host).status == 204
    assert raw("HEAD", f"/{bucket}").status == 404


def test_the_domain_itself_is_path_style(raw: Raw, bucket: str) -> None:
    host = {"host": DOMAIN}
    assert raw("GET", "/", headers=host).xml.tag == "ListAllMyBucketsResult"
    assert raw("PUT", f"/{bucket}/k", headers=host, body=b"x").status == 200
    for other in (f"{bucket}.other.test", f"x{DOMAIN}", f".{DOMAIN}"):
        answer = raw("GET", f"/{bucket}/k", headers={"host": other})
        assert (answer.status, answer.body) == (200, b"x"), other


def test_a_dotted_bucket_as_a_host(raw: Raw) -> None:
    host = {"host": f"a.b.c.{DOMAIN}"}
    assert raw("PUT", "/", headers=host).status == 200
    assert raw("HEAD", "/a.b.c").status == 200
    assert raw("DELETE", "/", headers=host).status == 204


# --- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server with a certificate of its own, and the file that clients trust."""
    cert, key = make_certificate(tmp_path_factory.mktemp("tls"))
    with Server(tls_cert=str(cert), tls_key=str(key)) as server:
        yield server, str(cert)


def make_certificate(directory: Path) -> tuple[Path, Path]:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    cert, key = directory / "cert.pem", directory / "key.pem"
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, key


# botocore computes every algorithm of S3 but MD5
@pytest.mark.parametrize("algorithm", [None, *(name.upper() for name in DIGESTS if name != "md5")])
@pytest.mark.parametrize("size", [0, 1000, 300_000, 9 * MIB])
def test_boto3_over_tls(tls: tuple[Server, str], algorithm: str | None, size: int) -> None:
    """Over TLS boto3 sends its checksum as a trailer."""
    server, cafile = tls
    chosen = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    data = noise(size)
    sent: dict[str, str] = {}

    def look(request: Any, **_: Any) -> None:
        sent.update({name.lower(): str(value) for name, value in request.headers.items()})

    with closing(boto3.client("s3", verify=cafile, **server.client_arguments())) as client:
        client.create_bucket(Bucket="over-tls")
        client.meta.events.register("before-send.s3.PutObject", look)
        client.put_object(Bucket="over-tls", Key="k", Body=data, **chosen)
        got = client.get_object(Bucket="over-tls", Key="k", ChecksumMode="ENABLED")
        assert got["Body"].read() == data
        assert got[f"Checksum{algorithm or 'CRC32'}"]
        client.delete_object(Bucket="over-tls", Key="k")
    assert STREAMING_UNSIGNED_TRAILER in sent["x-amz-content-sha256"]


@pytest.mark.parametrize("kind", [STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER])
@pytest.mark.parametrize("size", [1000, 300_000])
def test_chunks_over_tls(tls: tuple[Server, str], kind: str, size: int) -> None:
    server, cafile = tls
    data = noise(size)
    with Raw(server, cafile) as raw:
        raw("PUT", "/over-tls")
        wrong = raw.chunked("/over-tls/k", data, kind, trailers=checksum("crc32", data + b"x"))
        assert wrong.code == "BadDigest"
        assert raw("GET", "/over-tls/k").code == "NoSuchKey"
        right = raw.chunked("/over-tls/k", data, kind, trailers=checksum("crc32", data))
        assert right.status == 200
        assert raw("GET", "/over-tls/k").body == data
        ranged = raw("GET", "/over-tls/k", headers={"range": "bytes=100-199"})
        assert ranged.body == data[100:200]
        raw("DELETE", "/over-tls/k")
