"""TLS: the certificate follows its files, and a broken pair is never put in use."""

from __future__ import annotations

import datetime
import os
import signal
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from holdfast.server import tls
from tests.serving import ServeProcess, wait_for


def _write_pair(directory: Path, name: str) -> tuple[str, str]:
    """A self-signed certificate for 127.0.0.1 whose subject is `name`."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = directory / "cert.pem", directory / "key.pem"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(cert_path), str(key_path)


def _served_subject(port: int) -> str:
    """The common name that the server shows now; empty when it does not answer."""
    try:
        pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=10)
    except OSError:
        return ""
    subject = x509.load_pem_x509_certificate(pem.encode()).subject
    return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def test_new_files_are_served_and_broken_ones_are_not(
    serve_process: Callable[..., ServeProcess], tmp_path: Path
) -> None:
    cert, key = _write_pair(tmp_path, "first")
    process = serve_process("--workers", "1", "--tls-cert", cert, "--tls-key", key, start=False)
    process.start(wait=False)
    wait_for(lambda: _served_subject(process.port) == "first", process.output)
    wait_for(lambda: f"https://127.0.0.1:{process.port}" in process.output(), process.output)

    _write_pair(tmp_path, "half")  # its certificate loads, its key does not
    Path(key).write_text("broken")
    os.kill(process.pid, signal.SIGHUP)
    wait_for(lambda: "the old certificate stays in use" in process.output())
    assert _served_subject(process.port) == "first"

    _write_pair(tmp_path, "second")  # noticed without a signal
    wait_for(lambda: _served_subject(process.port) == "second", process.output)
    assert process.stop() == 0


def test_plain_http_is_not_answered_on_a_tls_port(
    serve_process: Callable[..., ServeProcess], tmp_path: Path
) -> None:
    cert, key = _write_pair(tmp_path, "only")
    process = serve_process("--workers", "1", "--tls-cert", cert, "--tls-key", key, start=False)
    process.start(wait=False)
    wait_for(lambda: _served_subject(process.port) == "only", process.output)
    assert process.get("/_holdfast/live") == 0


def test_a_pair_that_can_not_be_used_is_refused(tmp_path: Path) -> None:
    cert, key = _write_pair(tmp_path, "x")
    with pytest.raises(tls.TlsError, match="No such file"):
        tls.Certificate(cert, key + "x")
    other = tmp_path / "other"
    other.mkdir()
    _, wrong_key = _write_pair(other, "y")
    with pytest.raises(tls.TlsError, match=r"(?i)mismatch"):
        tls.Certificate(cert, wrong_key)
