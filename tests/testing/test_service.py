"""packaging/holdfast.service goes with what the server does and takes; and READY=1 is told."""

from __future__ import annotations

import configparser
import logging
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.config import BY_NAME
from holdfast.server.committer import COMMITTER_STOP_SECONDS
from holdfast.server.notify import notify_ready
from holdfast.server.serve import MAINTENANCE_STOP_SECONDS, WORKER_STOP_EXTRA_SECONDS

from ..conftest import ServeFactory
from ..serving import ROOT, WAIT_SECONDS_MAX

UNIT = ROOT / "packaging" / "holdfast.service"


@pytest.fixture(scope="module")
def service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser["Service"]


def test_the_command_is_ours(service: configparser.SectionProxy) -> None:
    program, command, data, *options = shlex.split(service["ExecStart"])
    assert Path(program).name == "holdfast"
    assert command == "serve"
    assert data == f"/var/lib/{service['StateDirectory']}"
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", command, "--help"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    known = set(re.findall(r"--[a-z-]+", done.stdout))
    assert known > {"--listen"}
    assert {one for one in options if one.startswith("--")} <= known


def test_it_waits_for_the_server(service: configparser.SectionProxy) -> None:
    stop_seconds = (
        BY_NAME["grace_seconds"].default
        + WORKER_STOP_EXTRA_SECONDS
        + MAINTENANCE_STOP_SECONDS
        + COMMITTER_STOP_SECONDS
    )
    assert int(service["TimeoutStopSec"]) > stop_seconds
    assert int(service["LimitNOFILE"]) > 2 * BY_NAME["connections_max"].default
    assert service["Type"] == "notify"
    assert service["KillMode"] == "mixed"
    assert service["ExecReload"].endswith("-HUP $MAINPID")


def test_systemd_takes_it(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / UNIT.name
    # the program is where this machine has one
    text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text(), flags=re.M)
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def _listening(name: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.settimeout(WAIT_SECONDS_MAX)
    sock.bind(name)
    return sock


def test_ready_is_told_when_it_serves(tmp_path: Path, serve_process: ServeFactory) -> None:
    name = f"holdfast-{os.getpid()}-{os.urandom(4).hex()}"
    with _listening(f"\0{name}") as sock:
        process = serve_process(env={"NOTIFY_SOCKET": f"@{name}"}, start=False)
        process.start(wait=False)
        assert sock.recv(100) == b"READY=1"
        assert process.get("/_holdfast/ready") == 200


def test_where_nobody_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify_ready()
    assert not caplog.records
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    with caplog.at_level(logging.WARNING):
        notify_ready()
    assert "can't be told" in caplog.text
