"""The load generator counts complete right answers, and everything else as an error by its name."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import ipaddress
import itertools
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.endpoint import Endpoint
from bench.load import Address, Expectation, Outcome, Request, run_load
from bench.stream import Content, download, side_by_side, upload
from tests.bench.far_end import Answer, far_end, response

_SECONDS = 10.0  # more than enough for the requests given, which end the run first


def gets(endpoint: Endpoint, count: int) -> Iterator[Request]:
    signer = endpoint.signer()
    return iter([(signer.head("GET", f"/b/{i}"),) for i in range(count)])


def run(answer: Answer, count: int, connections: int = 3) -> Outcome:
    with far_end(answer) as endpoint:
        return run_load(
            endpoint.address,
            gets(endpoint, count),
            Expectation(body_bytes=5),
            connections=connections,
            seconds=_SECONDS,
        )


def test_every_request_is_sent_once_and_answered() -> None:
    seen: list[str] = []

    def answer(method: str, target: str, body: bytes) -> bytes:
        seen.append(target)
        return response(200, b"12345")

    outcome = run(answer, 50)
    assert outcome.answered == 50
    assert not outcome.errors
    assert sorted(seen) == sorted(f"/b/{i}" for i in range(50))
    assert outcome.bytes_moved == 250


def test_a_large_body_goes_out_in_parts() -> None:
    size = 8 * 1024 * 1024
    sizes: list[int] = []

    def answer(method: str, target: str, body: bytes) -> bytes:
        sizes.append(len(body))
        return response(200)

    with far_end(answer) as endpoint:
        head = endpoint.signer().head("PUT", "/b/k", length=size)
        outcome = run_load(
            endpoint.address,
            iter([(head, bytes(size - 3), b"end")] * 2),
            Expectation(),
            connections=1,
            seconds=_SECONDS,
        )
    assert (outcome.answered, sizes) == (2, [size, size])


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (response(503, b"12345"), "status 503"),
        (response(301, b"12345"), "status 301"),
        (response(200, b"1234"), "body of 4 bytes"),
        (response(200, b"12345") + b"6", "bad response: 1 bytes behind the end of the response"),
        (b"hello\r\n\r\n", "bad response: not an HTTP/1.1 response: b'hello\\r\\n'"),
        (None, "closed before the answer was complete"),
    ],
)
def test_what_is_not_the_right_answer_is_counted(raw: bytes | None, error: str) -> None:
    numbers = itertools.count()

    def answer(method: str, target: str, body: bytes) -> bytes | None:
        return raw if next(numbers) == 4 else response(200, b"12345")

    outcome = run(answer, 10, connections=1)
    assert outcome.errors == {error: 1}
    assert outcome.answered == 9


@pytest.mark.parametrize(
    ("raw", "cut"),
    [(response(200, b"12345"), cut) for cut in (8, 40, -5, -1)]
    + [(b"HTTP/1.1 204 No Content\r\n\r\n", 3)],
)
def test_an_answer_in_two_pieces_counts_once_it_is_whole(raw: bytes, cut: int) -> None:
    """The buffer still holds the answer before, which is just like it."""
    seen: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.recv(1000)
                sock.sendall(raw)
                for number in range(1, 4):
                    sock.recv(1000)
                    sock.sendall(raw[:cut])
                    sock.settimeout(0.05)
                    with contextlib.suppress(TimeoutError):  # it must not go on before the end
                        seen.append(len(sock.recv(1000)))
                    sock.settimeout(None)
                    if number < 3:
                        sock.sendall(raw[cut:])

        thread = threading.Thread(target=serve)
        thread.start()
        address = Address("127.0.0.1", listener.getsockname()[1])
        requests = itertools.repeat((b"GET / HTTP/1.1\r\n\r\n",), 4)
        expect = Expectation(body_bytes=5 if b"12345" in raw else 0)
        outcome = run_load(address, requests, expect, connections=1, seconds=_SECONDS)
        thread.join()
    assert seen == []
    assert outcome.answered == 3
    assert outcome.errors == {"closed before the answer was complete": 1}


def test_kinds_are_told_apart() -> None:
    def answer(method: str, target: str, body: bytes) -> bytes:
        return response(204)[: -len("\r\n")] + b"\r\n" if method == "DELETE" else response(200)

    kinds = {method: Expectation(kind=method, status=200) for method in ("PUT", "DELETE")}
    methods = ["PUT", "DELETE", "PUT"] * 10
    with far_end(answer) as endpoint:
        signer = endpoint.signer()
        outcome = run_load(
            endpoint.address,
            iter([(signer.head(method, "/b/k", length=0),) for method in methods]),
            [kinds[method] for method in methods],
            connections=1,
            seconds=_SECONDS,
        )
    assert {kind: len(took) for kind, took in outcome.by_kind.items()} == {"PUT": 20}
    assert outcome.errors == {"status 204": 10}


def test_errors_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.load.ERRORS_MAX", 20)
    outcome = run(lambda *_: response(500), 200, connections=1)
    assert outcome.errors == {"status 500": 20}


def test_a_server_that_closes_politely_is_asked_again() -> None:
    outcome = run(lambda *_: response(200, b"12345", "Connection: close"), 20)
    assert (outcome.answered, dict(outcome.errors)) == (20, {})


def test_missing_entries_are_an_error() -> None:
    with far_end(lambda *_: response(200, b"<Key>a</Key>")) as endpoint:
        outcome = run_load(
            endpoint.address,
            gets(endpoint, 1),
            Expectation(marker=b"<Key>", marker_count=2),
            connections=1,
            seconds=_SECONDS,
        )
    assert outcome.errors == {"1 of 2 entries": 1}


def test_nobody_there_is_an_error_at_once() -> None:
    with far_end(lambda *_: response(200)) as endpoint:
        pass
    with pytest.raises(ConnectionRefusedError):
        run_load(
            endpoint.address, gets(endpoint, 1), Expectation(), connections=1, seconds=_SECONDS
        )


def test_streams_carry_the_content_and_its_hash() -> None:
    stored: list[bytes] = []

    def answer(method: str, target: str, body: bytes) -> bytes:
        if method == "PUT":
            stored.append(body)
            return response(200)
        return response(200, stored[0])

    content = Content(3 * 1024 * 1024 + 17)
    uses = [content.renew() for _ in range(2)]
    digests = [use.digest for use in uses]
    with far_end(answer) as endpoint:
        for use in uses:
            head = endpoint.signer().head("PUT", "/b/k", "", use.digest, content.size)
            assert upload(endpoint.address, head, use).answered == 1
        got = hashlib.sha256()
        head = endpoint.signer().head("GET", "/b/k")
        outcome = download(endpoint.address, head, content.size, got)
        short = download(endpoint.address, head, content.size + 1)
    content.close()
    assert [hashlib.sha256(body).hexdigest() for body in stored] == digests
    assert digests[0] != digests[1]
    assert (outcome.bytes_moved, got.hexdigest()) == (content.size, digests[0])
    assert short.errors == {f"body of {content.size} bytes": 1}


def test_streams_side_by_side_differ_and_take_the_time_of_all() -> None:
    stored: dict[str, bytes] = {}

    def answer(method: str, target: str, body: bytes) -> bytes:
        stored[target] = body
        return response(200) if target != "/b/2" else response(500)

    content = Content(1024 * 1024)
    with far_end(answer) as endpoint:
        uses = [content.renew() for _ in range(3)]
        signer = endpoint.signer()
        outcome = side_by_side(
            [
                partial(
                    upload,
                    endpoint.address,
                    signer.head("PUT", f"/b/{number}", "", use.digest, use.size),
                    use,
                )
                for number, use in enumerate(uses)
            ]
        )
    content.close()
    digests = {path: hashlib.sha256(body).hexdigest() for path, body in stored.items()}
    assert digests == {f"/b/{number}": use.digest for number, use in enumerate(uses)}
    assert (outcome.answered, outcome.bytes_moved) == (2, 2 * 1024 * 1024)
    assert outcome.errors == {"status 500": 1}
    assert outcome.seconds >= max(outcome.latencies)


def test_an_upload_refused_early_is_no_upload() -> None:
    content = Content(16 * 1024 * 1024)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def refuse() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(1000)
                sock.sendall(response(403, b"", "Connection: close"))

        thread = threading.Thread(target=refuse)
        thread.start()
        head = b"PUT /b/k HTTP/1.1\r\n\r\n"
        outcome = upload(Address("127.0.0.1", port), head, content.renew())
        thread.join()
    content.close()
    assert outcome.answered == 0
    assert outcome.errors.total() == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "far end")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "far-end.pem"
    plain = serialization.NoEncryption()
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(encoding, form, plain) + made.public_bytes(encoding))
    return path


def test_the_same_over_tls(certificate: Path) -> None:
    body = bytes(300_000)
    sizes: list[int] = []

    def answer(method: str, target: str, received: bytes) -> bytes:
        sizes.append(len(received))
        return response(200, body)

    content = Content(1024 * 1024)
    with far_end(answer, certificate) as endpoint:
        head = endpoint.signer().head("PUT", "/b/k", length=8 * 1024 * 1024)
        outcome = run_load(
            endpoint.address,
            iter([(head, bytes(8 * 1024 * 1024))] * 4),
            Expectation(body_bytes=len(body)),
            connections=2,
            seconds=_SECONDS,
        )
        assert endpoint.call("GET", "/b/k") == (200, body)
        head = endpoint.signer().head("PUT", "/b/k", length=content.size)
        stream = upload(endpoint.address, head, content.renew())
    content.close()
    assert (outcome.answered, dict(outcome.errors)) == (4, {})
    assert (stream.answered, dict(stream.errors)) == (1, {})
    assert sizes == [8 * 1024 * 1024] * 4 + [0, content.size]


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    with far_end(lambda *_: response(200), certificate) as endpoint:
        address = replace(endpoint.address, tls=ssl.create_default_context())
        with pytest.raises(ssl.SSLCertVerificationError):
            run_load(address, gets(endpoint, 1), Expectation(), connections=1, seconds=_SECONDS)
