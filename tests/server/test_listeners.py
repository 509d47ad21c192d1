"""Listeners: what others hold is refused, what is ours nobody else gets into."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.server.listeners import (
    Address,
    ListenError,
    close_listeners,
    open_listeners,
    parse_address,
    remove_unix_paths,
)

INTRUDER = """
import socket, sys
family, host, port, reuse, listen = sys.argv[1:]
sock = socket.socket(int(family))
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if int(family) == socket.AF_INET6:
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse))
sock.bind((host, int(port)))
if int(listen):
    sock.listen()
print(sock.getsockname()[1], flush=True)
sys.stdin.read()
"""


def _intruder(host: str, port: int, *, reuse: bool, listen: bool = True) -> subprocess.Popen[str]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    arguments = [str(int(family)), host, str(port), str(int(reuse)), str(int(listen))]
    return subprocess.Popen(
        [sys.executable, "-S", "-c", INTRUDER, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _have_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


HOSTS = ["127.0.0.1", "0.0.0.0", *(["::1", "::"] if _have_ipv6() else [])]


@pytest.mark.parametrize("reuse", [False, True])
def test_port_that_another_process_holds_is_refused(reuse: bool) -> None:
    with _intruder("127.0.0.1", 0, reuse=reuse) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port} is in use"):
            open_listeners((f"127.0.0.1:{port}",), 2)
        other.communicate("")


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("host", HOSTS)
def test_nobody_else_gets_into_our_port(host: str, workers: int) -> None:
    listeners = open_listeners((str(Address(host, 0)),), workers)
    port = listeners[0].address.port
    for listen in (False, True):
        with _intruder(host, port, reuse=True, listen=listen) as other:
            _, errors = other.communicate("")
            assert "Address already in use" in errors
    close_listeners(listeners)
    # and the port is free again
    close_listeners(open_listeners((str(Address(host, port)),), workers))


@pytest.mark.skipif(len(HOSTS) < 4, reason="needs IPv6")
def test_both_wildcards_on_one_port() -> None:
    first = open_listeners(("0.0.0.0:0",), 2)
    port = first[0].address.port
    close_listeners(first)
    listeners = open_listeners((f"0.0.0.0:{port}", f"[::]:{port}"), 2)
    for host in ("0.0.0.0", "::"):
        with _intruder(host, port, reuse=True) as other:
            assert "Address already in use" in other.communicate("")[1]
    close_listeners(listeners)


def test_kernel_spreads_connections_over_all_workers() -> None:
    listeners = open_listeners(("127.0.0.1:0",), 3)
    address = ("127.0.0.1", listeners[0].address.port)
    clients = [socket.create_connection(address) for _ in range(120)]
    counts = [_accept_all(sock) for sock in listeners[0].sockets]
    assert sum(counts) == 120
    assert all(counts)
    for client in clients:
        client.close()
    close_listeners(listeners)


def _accept_all(sock: socket.socket) -> int:
    count = 0
    while True:
        try:
            sock.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_all_or_none(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(ListenError):
            open_listeners((f"unix:{tmp_path}/s", f"127.0.0.1:{port}"), 2)
    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(f"{tmp_path}/s")


def test_unix_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    text = f"unix:{tmp_path}/s"
    close_listeners(open_listeners((text,), 2))  # as a killed server leaves it
    listeners = open_listeners((text,), 2)
    assert len(listeners[0].sockets) == 1
    with pytest.raises(ListenError, match="is in use"):
        open_listeners((text,), 2)
    close_listeners(listeners)
    remove_unix_paths(listeners)
    assert os.listdir(tmp_path) == []


def test_a_file_is_not_taken_for_a_socket(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(ListenError, match="no socket"):
        open_listeners((f"unix:{tmp_path}/s",), 2)
    assert (tmp_path / "s").read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("127.0.0.1:9000", Address("127.0.0.1", 9000), True),
        ("[::1]:9000", Address("::1", 9000), True),
        (":9000", Address("0.0.0.0", 9000), False),
        ("[::]:9000", Address("::", 9000), False),
        ("unix:/run/h.sock", Address("", 0, "/run/h.sock"), True),
        ("localhost:1", Address("127.0.0.1", 1), True),
    ],
)
def test_addresses(text: str, address: Address, loopback: bool) -> None:
    assert parse_address(text) == address
    assert address.loopback is loopback


@pytest.mark.parametrize(
    "text",
    ["9000", "::1:9000", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", "unix:/" + "x" * 107],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ListenError):
        parse_address(text)
