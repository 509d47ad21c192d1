"""TLS: the certificate follows its files, and a broken pair is never put in use."""

from __future__ import annotations

import os
import signal
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from holdfast.server import tls
from tests.certificate import write_pair
from tests.serving import ServeProcess, wait_for


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
    cert, key = write_pair(tmp_path, "first")
    process = serve_process("--workers", "1", "--tls-cert", cert, "--tls-key", key, start=False)
    process.start(wait=False)
    wait_for(lambda: _served_subject(process.port) == "first", process.output)
    wait_for(lambda: f"https://127.0.0.1:{process.port}" in process.output(), process.output)

    write_pair(tmp_path, "half")  # its certificate loads, its key does not
    Path(key).write_text("broken")
    os.kill(process.pid, signal.SIGHUP)
    wait_for(lambda: "the old certificate stays in use" in process.output())
    assert _served_subject(process.port) == "first"

    write_pair(tmp_path, "second")  # noticed without a signal
    wait_for(lambda: _served_subject(process.port) == "second", process.output)
    assert process.stop() == 0


def test_plain_http_is_not_answered_on_a_tls_port(
    serve_process: Callable[..., ServeProcess], tmp_path: Path
) -> None:
    cert, key = write_pair(tmp_path, "only")
    process = serve_process("--workers", "1", "--tls-cert", cert, "--tls-key", key, start=False)
    process.start(wait=False)
    wait_for(lambda: _served_subject(process.port) == "only", process.output)
    assert process.get("/_holdfast/live") == 0


def test_a_pair_that_can_not_be_used_is_refused(tmp_path: Path) -> None:
    cert, key = write_pair(tmp_path, "x")
    with pytest.raises(tls.TlsError, match="No such file"):
        tls.Certificate(cert, key + "x")
    other = tmp_path / "other"
    other.mkdir()
    _, wrong_key = write_pair(other, "y")
    with pytest.raises(tls.TlsError, match=r"(?i)mismatch"):
        tls.Certificate(cert, wrong_key)
