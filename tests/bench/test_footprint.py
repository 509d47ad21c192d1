"""Start, memory, disk, percentiles: the figures beside the load."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bench.endpoint import EndpointError
from bench.launch import Server
from bench.load import Outcome
from bench.machine import describe, probe_sync
from bench.memory import (
    cpu_seconds,
    disk_bytes,
    listener_pid,
    listeners,
    process_tree,
    pss_by_role,
    pss_bytes,
    written_bytes,
)
from bench.meter import Cost, Meter
from bench.plan import parse_workload
from bench.report import percentile, summarize
from tests.bench.far_end import far_end, response

_MIB = 1024 * 1024
_CHILD = "import sys; x = b'x' * (64 * 2**20); print('up', flush=True); sys.stdin.read()"
_SERVER = """
import http.server, pathlib, signal, sys
def drain(*_):
    pathlib.Path(%r).write_text('drained')
    sys.exit()
signal.signal(signal.SIGTERM, drain)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.headers['Authorization'] else 403)
        self.send_header('Content-Length', '0')
        self.end_headers()
http.server.HTTPServer(('127.0.0.1', %d), Handler).serve_forever()
"""


def test_memory_is_that_of_the_whole_tree() -> None:
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_CHILD!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        tree = process_tree(parent.pid)
        assert len(tree) == 2
        assert pss_bytes(parent.pid) > 64 * _MIB
    assert process_tree(parent.pid) == []
    assert pss_bytes(parent.pid) == 0


_LISTENER = """
import os, socket, sys, threading, time
with socket.create_server(('127.0.0.1', 0)) as listener:
    if os.fork() == 0:
        began, dead = time.process_time(), threading.Thread(target=lambda: sum(range(3_000_000)))
        dead.start()
        dead.join()
        while time.process_time() - began < 0.3:
            pass
        file = open(sys.argv[1], 'wb')
        file.write(bytes(1 << 20))
        file.flush()
        os.fsync(file.fileno())
        print(listener.getsockname()[1], flush=True)
    sys.stdin.read()
"""


def test_what_a_server_takes_is_found_by_its_port(tmp_path: Path) -> None:
    """The tree's first process, the time of threads that ended too, and the bytes that it wrote."""
    with subprocess.Popen(
        [sys.executable, "-c", _LISTENER, str(tmp_path / "file")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert listener_pid(port) == parent.pid
        assert len(listeners(port)) == 2
        assert cpu_seconds(parent.pid) >= 0.3
        assert written_bytes(parent.pid) >= _MIB
        roles = pss_by_role(parent.pid, port)
        assert set(roles) == {"supervisor", "worker"}
        assert abs(sum(roles.values()) - pss_bytes(parent.pid)) < _MIB
    assert listener_pid(port) is None
    assert cpu_seconds(parent.pid) == written_bytes(parent.pid) == 0


def test_the_meter_tells_differences_only(tmp_path: Path) -> None:
    meter = Meter(os.getpid(), tmp_path)
    meter.start()
    (tmp_path / "file").write_bytes(os.urandom(_MIB))
    cost = meter.stop(stores=True)
    assert cost.written_bytes is not None
    assert _MIB <= cost.written_bytes < 64 * _MIB
    assert cost.cpu_seconds is not None
    assert 0 < cost.cpu_seconds < cpu_seconds(os.getpid())
    assert cost.device_bytes is None or cost.device_bytes >= _MIB
    unknown = Meter(None, tmp_path)
    unknown.start()
    assert unknown.stop(stores=False) == Cost()


def test_a_run_is_summed_up() -> None:
    outcome = Outcome(seconds=2.0, client_seconds=0.5, latencies=[i / 1000 for i in range(1, 1001)])
    cost = Cost(cpu_seconds=3.0, pss_bytes=7, written_bytes=8_192_000, device_bytes=None)
    workload = parse_workload("put-4k", [1])[0]
    run = summarize("a", workload, outcome, cost, stored=1000 * 4096)
    assert (run.rate, run.p50_ms, run.p99_ms, run.p999_ms, run.max_ms) == (500, 500, 990, 999, 1000)
    assert (run.cpu_s_per_1000, run.written_per_byte, run.device_per_byte) == (3.0, 2.0, None)
    assert run.load_us == 500


def test_a_file_linked_twice_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(_MIB))
    (tmp_path / "sub").mkdir()
    os.link(tmp_path / "a", tmp_path / "sub" / "b")
    assert _MIB <= disk_bytes(str(tmp_path)) < _MIB + 64 * 1024


def test_the_machine_and_its_disk(tmp_path: Path) -> None:
    machine = describe(str(tmp_path))
    assert machine.cores >= 1
    assert " on " in machine.file_system
    probe = probe_sync(str(tmp_path), writes=5)
    assert 0 < probe.p50_ms <= probe.p99_ms <= probe.max_ms
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("percent", "value"), [(50, 5.0), (99, 10.0), (100, 10.0), (1, 1.0)])
def test_percentiles_are_nearest_rank(percent: int, value: float) -> None:
    assert percentile([float(i) for i in range(1, 11)], percent) == value
    assert percentile([], percent) == 0.0


def test_a_server_is_started_timed_and_stopped(tmp_path: Path) -> None:
    with (
        far_end(lambda *_: response(200)) as endpoint,
        pytest.raises(EndpointError, match="already listens"),
    ):
        Server(endpoint, "true")
    script = _SERVER % (str(tmp_path / "end"), endpoint.address.port)
    server = Server(endpoint, shlex.join([sys.executable, "-c", script]))
    assert server.started_seconds > 0
    assert endpoint.call("GET", "/")[0] == 200
    server.stop()
    assert process_tree(server.pid) == []
    assert (tmp_path / "end").read_text() == "drained"


def test_a_server_that_fails_shows_its_last_words() -> None:
    with far_end(lambda *_: response(200)) as endpoint:
        pass
    command = shlex.join([sys.executable, "-c", "raise SystemExit('no room')"])
    with pytest.raises(EndpointError, match=r"(?s)status 1.*no room"):
        Server(endpoint, command)
    with pytest.raises(EndpointError, match="can't run"):
        Server(endpoint, "/nowhere/server")
