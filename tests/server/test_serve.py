"""`holdfast serve` as real processes: start, refusals, drain, and every way to kill it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from holdfast.server.supervisor import SAME_SIGNAL_SECONDS
from tests.serving import ServeProcess, runs, wait_for

Factory = Callable[..., ServeProcess]


def _client(process: ServeProcess, **arguments: Any) -> Any:
    config = Config(signature_version="s3v4", retries={"total_max_attempts": 8, "mode": "standard"})
    return boto3.client("s3", config=config, **{**process.client_arguments(), **arguments})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """For tests that leave it as they found it."""
    process = ServeProcess(tmp_path_factory.mktemp("shared"), ("--workers", "2"), {})
    try:
        process.start()
        yield process
    finally:
        process.destroy()


@pytest.fixture
def served(serve_process: Factory) -> ServeProcess:
    return serve_process("--workers", "2")


def _serve_again(process: ServeProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "holdfast", "serve", *arguments],
        env=process.environ, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_first_screen_and_keys(serve_process: Factory) -> None:
    process = serve_process("--workers", "1", start=False)
    del process.environ["HOLDFAST_ACCESS_KEY"], process.environ["HOLDFAST_SECRET_KEY"]
    process.start()
    assert stat.S_IMODE((process.data / "keys.json").stat().st_mode) == 0o600
    keys = json.loads((process.data / "keys.json").read_text())
    wait_for(lambda: "list_buckets" in process.output())
    screen = (process.directory / "stdout").read_text()
    assert "\x1b" not in screen
    assert f"endpoint    {process.endpoint}\n" in screen
    assert re.search(r"access key  AKIA[A-Z2-7]{16}\n", screen)
    assert keys["secret_key"] in screen
    assert f"aws --endpoint-url {process.endpoint} s3 mb" in screen
    assert f'boto3.client("s3", endpoint_url="{process.endpoint}")' in screen
    # the line of the screen works as it is typed
    environ = dict(re.findall(r"(AWS_\w+)=(\S+)", screen))
    command = next(line.strip() for line in screen.splitlines() if "curl" in line)
    answer = subprocess.run(
        ["sh", "-c", command], env=os.environ | environ, capture_output=True, text=True, check=True
    )
    assert "ListAllMyBucketsResult" in answer.stdout
    assert process.stop() == 0
    process.start()
    wait_for(lambda: process.output().count("list_buckets") == 2)
    assert process.output().count(keys["secret_key"]) == screen.count(keys["secret_key"])


def test_json_first_line(serve_process: Factory) -> None:
    process = serve_process("--workers", "1", "--log-format", "json", "--listen", "0.0.0.0:0",
                            "--durability", "relaxed", start=False)  # fmt: skip
    del process.environ["HOLDFAST_ACCESS_KEY"], process.environ["HOLDFAST_SECRET_KEY"]
    process.start(wait=False)
    wait_for(lambda: '"ready"' in process.output(), process.output)
    line = json.loads((process.directory / "stdout").read_text())
    assert line["keys_generated"] is True
    assert json.loads((process.data / "keys.json").read_text())["secret_key"] not in str(line)
    process.port = int(line["endpoints"][0].rpartition(":")[2])
    assert process.get("/_holdfast/live") == 200
    entries = [json.loads(text) for text in (process.directory / "stderr").read_text().splitlines()]
    warnings = [entry["message"] for entry in entries if entry["level"] == "warning"]
    assert any("durability is relaxed" in message for message in warnings)
    assert any("can be reached from other machines and has no TLS" in text for text in warnings)


def test_second_server_on_the_same_data_is_refused(shared: ServeProcess) -> None:
    second = _serve_again(shared, str(shared.data), "--listen", "127.0.0.1:0")
    assert second.returncode == 1
    assert f"is in use by process {shared.pid};" in second.stderr
    fsck = subprocess.run(
        [sys.executable, "-m", "holdfast", "fsck", str(shared.data)],
        env=shared.environ, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert fsck.returncode == 2
    assert f"is in use by process {shared.pid};" in fsck.stderr
    assert shared.get("/_holdfast/ready") == 200


def test_second_server_on_the_same_port_is_refused(shared: ServeProcess, tmp_path: Path) -> None:
    second = _serve_again(shared, str(tmp_path / "other"), "--listen", f"127.0.0.1:{shared.port}")
    assert second.returncode == 1
    assert f"127.0.0.1:{shared.port} is in use by another program" in second.stderr


def test_health(shared: ServeProcess) -> None:
    for path, status in (("live", 200), ("ready", 200), ("", 404)):
        assert shared.get(f"/_holdfast/{path}") == status
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=10)
    connection.request("PUT", "/_holdfast/live")
    assert connection.getresponse().status == 405
    connection.close()


def test_unix_socket(serve_process: Factory, tmp_path: Path) -> None:
    path = tmp_path / "h.sock"
    process = serve_process("--listen", f"unix:{path}", "--workers", "2", start=False)
    process.start(wait=False)
    wait_for(lambda: f"endpoint    unix:{path}" in process.output(), process.output)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"GET /_holdfast/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert sock.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
    assert process.stop() == 0
    assert not path.exists()


def test_access_log_and_its_rotation(serve_process: Factory, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    process = serve_process("--workers", "1", "--access-log", str(log))
    client = _client(process)
    client.create_bucket(Bucket="logged")
    url = client.generate_presigned_url("list_objects_v2", Params={"Bucket": "logged"})
    status = subprocess.run(["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", url],
                            capture_output=True, text=True, check=True)  # fmt: skip
    wait_for(lambda: log.exists() and "list-type=2" in log.read_text())
    line = next(text for text in log.read_text().splitlines() if "list-type=2" in text)
    assert f'" {status.stdout} ' in line
    assert "Signature=***" in line
    assert "Credential=***" in line
    os.rename(log, tmp_path / "access.log.1")
    os.kill(process.pid, signal.SIGHUP)
    wait_for(log.exists)
    assert process.get("/_holdfast/live") == 200
    wait_for(lambda: "/_holdfast/live" in log.read_text())


class Upload:
    """A PutObject of which the client holds back the end."""

    BODY = b"x" * 200_000

    def __init__(self, process: ServeProcess, key: str) -> None:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        arguments = process.client_arguments()
        credentials = Credentials(
            arguments["aws_access_key_id"], arguments["aws_secret_access_key"]
        )
        request = AWSRequest("PUT", f"{process.endpoint}/drained/{key}", data=self.BODY)
        S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)
        fields = {"Host": f"127.0.0.1:{process.port}", **dict(request.headers.items())}
        fields |= {"Content-Length": str(len(self.BODY)), "Expect": "100-continue"}
        lines = [f"PUT /drained/{key} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items()), "", ""]
        self.sock = socket.create_connection(("127.0.0.1", process.port), timeout=30)
        self.sock.sendall("\r\n".join(lines).encode())
        # the server asks for the body: from now on the request is under way
        assert self.sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        self.sock.sendall(self.BODY[:100_000])

    def finish(self) -> bytes:
        """What the server answers to the whole; empty when it closed the connection."""
        with self.sock:
            self.sock.sendall(self.BODY[100_000:])
            return self.sock.recv(1000)


def _refuses(process: ServeProcess) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", process.port)) != 0


@pytest.mark.parametrize("arguments", [("--workers", "2"), ("--single-process",)])
def test_requests_under_way_finish_after_sigterm(
    serve_process: Factory, arguments: tuple[str, ...]
) -> None:
    process = serve_process(*arguments)
    client = _client(process)
    client.create_bucket(Bucket="drained")
    upload = Upload(process, "late")
    assert process.process is not None
    process.process.send_signal(signal.SIGINT)
    process.process.send_signal(signal.SIGTERM)
    wait_for(lambda: _refuses(process))
    process.process.send_signal(signal.SIGINT)  # sent to it and to its group: the same one again
    time.sleep(0.1)
    assert process.process.poll() is None
    assert upload.finish().startswith(b"HTTP/1.1 200 ")
    assert process.process.wait(30) == 0
    process.start()
    assert client.get_object(Bucket="drained", Key="late")["Body"].read() == Upload.BODY


@pytest.mark.parametrize("arguments", [("--workers", "2"), ("--single-process",)])
def test_second_signal_forces(serve_process: Factory, arguments: tuple[str, ...]) -> None:
    process = serve_process(*arguments)
    _client(process).create_bucket(Bucket="drained")
    upload = Upload(process, "never")
    assert process.process is not None
    process.process.send_signal(signal.SIGTERM)
    wait_for(lambda: _refuses(process))
    time.sleep(SAME_SIGNAL_SECONDS)
    assert process.stop(signal.SIGINT) == 1
    with contextlib.suppress(OSError):
        assert upload.finish() == b""


def test_a_killed_child_is_started_again(served: ServeProcess) -> None:
    client = _client(served)
    client.create_bucket(Bucket="kept")
    for role in ("committer", "worker 0", "worker 1", "maintenance"):
        client.put_object(Bucket="kept", Key=f"{role} before", Body=b"1")
        before = served.children()
        victim = _pid_of(served, role, before)
        os.kill(victim, signal.SIGKILL)
        client.put_object(Bucket="kept", Key=f"{role} after", Body=b"2")
        wait_for(lambda role=role: f"{role} is back (pid" in served.output(), served.output)
        assert f"{role} (pid {victim}) was killed by SIGKILL" in served.output()
        assert set(before) - set(served.children()) == {victim}
        assert len(served.children()) == len(before) == 4
        for when, body in (("before", b"1"), ("after", b"2")):
            found = client.get_object(Bucket="kept", Key=f"{role} {when}")
            assert found["Body"].read() == body
    assert served.stop() == 0


def _pid_of(process: ServeProcess, role: str, children: list[int]) -> int:
    """Children are forked in this order; what was started again is named in the log."""
    again = dict(re.findall(r"(\S+(?: \d)?) is back \(pid (\d+)\)", process.output()))
    first = [pid for pid in children if str(pid) not in again.values()]
    return first[0] if role not in again else int(again[role])


def test_children_end_with_a_killed_supervisor(served: ServeProcess) -> None:
    children = served.children()
    assert len(children) == 4
    os.kill(served.pid, signal.SIGKILL)
    assert served.process is not None
    served.process.wait()
    wait_for(lambda: not any(runs(pid) for pid in children))
    served.start()  # and the lock is free


def test_a_terminals_signal_to_everybody_is_orderly(shared: ServeProcess) -> None:
    for pid in shared.children():
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    assert shared.get("/_holdfast/ready") == 200
    assert shared.stop(signal.SIGINT) == 0
    assert "was killed" not in shared.output()
    shared.start()


def test_start_that_fails_says_why(serve_process: Factory) -> None:
    process = serve_process("--workers", "1", start=False)
    database = process.data / "meta" / "holdfast.db"
    process.start()
    assert process.stop() == 0
    for path in database.parent.iterdir():
        path.unlink()
    database.write_bytes(b"not a database" * 1000)
    process.start(wait=False)
    assert process.process is not None
    assert process.process.wait(30) == 1
    assert "committer could not start" in process.output()


def test_fsck_of_a_stopped_store(served: ServeProcess) -> None:
    client = _client(served)
    client.create_bucket(Bucket="checked")
    client.put_object(Bucket="checked", Key="k", Body=b"x" * 100_000)
    assert served.stop() == 0
    (file,) = (served.data / "buckets").glob("*-*/segments/*")
    assert file.stat().st_size < 110_000, "a worker that ended leaves nothing reserved"
    command = [sys.executable, "-m", "holdfast", "fsck", str(served.data), "--content", "--json"]
    environ = served.environ
    found = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    report = json.loads(found.stdout)
    assert (report["blobs"], report["blob_bytes"], report["damage"]) == (1, 100_000, [])
    file.write_bytes(file.read_bytes().replace(b"x" * 50, b"y" * 50, 1))
    damaged = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert damaged.returncode == 1
    assert "not those that were stored" in json.loads(damaged.stdout)["damage"][0]
