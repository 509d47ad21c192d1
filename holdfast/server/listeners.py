"""The sockets to serve on: probed, bound and kept by the supervisor for its whole life.

A TCP address has one SO_REUSEPORT socket for each worker, so that the kernel spreads connections;
a worker that dies leaves its socket, and the connections waiting in it, to its successor, and while
there can be none, to the other workers.
SO_REUSEPORT would let any later process of the same user in as well. So each address is sealed:

- a guard, bound first and without SO_REUSEPORT, proves that nothing holds the port; it lends
  itself SO_REUSEPORT while ours bind, gives it up again, and so conflicts with all who come later;
- the kernel skips that check while the last socket bound to the port number had SO_REUSEPORT
  (inet_csk_update_fastreuse), so one is bound last, for a moment, without it, at another address.

Clearing SO_REUSEPORT on our own sockets instead would seal as well, but then the kernel sends every
connection to one of them (measured on Linux 6.18).
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import stat
from typing import NamedTuple

BACKLOG = 1024
UNIX_MODE = 0o666  # as open as a TCP port: requests carry their own signatures
UNIX_PATH_BYTES_MAX = 107
SEAL_TRIES = 16


class ListenError(Exception):
    """An address can't be served on; the message says which and why."""


class Address(NamedTuple):
    """host and port, or for a Unix socket its path."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return bool(self.path) or self.host == "::1" or self.host.startswith("127.")


class Listener(NamedTuple):
    """An address with a socket for each worker, or one that all of them share."""

    address: Address
    sockets: list[socket.socket]
    #: holds the port against others; never listens
    guard: socket.socket | None = None

    def socket_for(self, worker: int) -> socket.socket:
        return self.sockets[worker % len(self.sockets)]

    def sockets_of_others(self, worker: int) -> list[socket.socket]:
        own = self.socket_for(worker)
        return [sock for sock in self.sockets if sock is not own]


def parse_address(text: str) -> Address:
    """HOST:PORT, [IPV6]:PORT, :PORT (every IPv4 address) or unix:PATH. Raises ListenError."""
    if text.startswith("unix:"):
        path = os.path.abspath(text.removeprefix("unix:"))
        if len(os.fsencode(path)) > UNIX_PATH_BYTES_MAX:
            raise ListenError(f"{text}: the path is longer than {UNIX_PATH_BYTES_MAX} bytes")
        return Address("", 0, path)
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ListenError(f"{text}: an IPv6 address is written in brackets, as in [::1]:9000")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ListenError(f"{text} is no address; it is HOST:PORT, [IPV6]:PORT or unix:PATH")
    try:
        # the first answer, so that a name stands for one socket
        found = socket.getaddrinfo(host or "0.0.0.0", int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(f"{text}: {error.strerror}") from None
    found.sort(key=lambda info: info[0] != socket.AF_INET)
    return Address(str(found[0][4][0]), int(port))


def open_listeners(addresses: tuple[str, ...], workers: int) -> list[Listener]:
    """Bind and listen on all of them, or on none. Raises ListenError."""
    opened: list[Listener] = []
    try:
        for text in addresses:
            address = parse_address(text)
            try:
                if address.path:
                    opened.append(_open_unix(address))
                else:
                    opened.append(_open_tcp(address, workers, opened))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise ListenError(
                        f"{address} is in use by another program; stop it, or use --listen"
                    ) from None
                raise ListenError(f"can't listen on {address}: {error.strerror or error}") from None
    except BaseException:
        close_listeners(opened)
        raise
    return opened


def close_listeners(listeners: list[Listener]) -> None:
    for listener in listeners:
        for sock in listener.sockets:
            sock.close()
    close_guards(listeners)


def close_guards(listeners: list[Listener]) -> None:
    """In a worker, which keeps the sockets of the others too, see Gateway.cover."""
    for listener in listeners:
        if listener.guard is not None:
            listener.guard.close()


def remove_unix_paths(listeners: list[Listener]) -> None:
    """At the end: the paths of our Unix sockets."""
    for listener in listeners:
        if listener.address.path:
            try:
                os.unlink(listener.address.path)
            except FileNotFoundError:
                pass


def _open_unix(address: Address) -> Listener:
    path = address.path
    sock = socket.socket(socket.AF_UNIX)
    try:
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            mode = 0
        if mode:
            if not stat.S_ISSOCK(mode):
                raise ListenError(f"{address}: there is a file of that name that is no socket")
            with socket.socket(socket.AF_UNIX) as probe:
                # a socket whose server is gone refuses; only then is its file ours to remove
                if probe.connect_ex(path) != errno.ECONNREFUSED:
                    raise OSError(errno.EADDRINUSE, "in use")
            os.unlink(path)
        sock.bind(path)
        os.chmod(path, UNIX_MODE)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return Listener(address, [sock])


def _tcp_socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past TIME_WAIT, not past listeners
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _open_tcp(address: Address, workers: int, others: list[Listener]) -> Listener:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    guard = _tcp_socket(family)
    sockets: list[socket.socket] = []
    try:
        guard.bind((address.host, address.port))
        address = address._replace(port=guard.getsockname()[1])
        # both families' wildcards leave no address to seal the port from: share one plain socket
        crowded = any(o.address.port == address.port and not o.address.path for o in others)
        if workers == 1 or crowded or not hasattr(socket, "SO_REUSEPORT"):
            guard.listen(BACKLOG)
            guard.setblocking(False)
            return Listener(address, [guard])
        guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for _ in range(workers):
            sock = _tcp_socket(family)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((address.host, address.port))
            sock.listen(BACKLOG)
            sock.setblocking(False)
        guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
        guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        _seal(address.host, address.port)
    except BaseException:
        for sock in (guard, *sockets):
            sock.close()
        raise
    return Listener(address, sockets, guard)


def _seal(host: str, port: int) -> None:
    """Bind the port for a moment without SO_REUSEPORT, at an address that ours can't conflict with.

    Where none is left (a wildcard, and the other family missing), another process of the same user
    may still share the port.
    """
    loopbacks = [(socket.AF_INET6, "::1")] if ":" not in host else []
    if host != "0.0.0.0":
        loopbacks += [
            (socket.AF_INET, f"127.{secrets.randbelow(254) + 1}.{secrets.randbelow(256)}.9")
            for _ in range(SEAL_TRIES)
        ]
    for family, other in loopbacks:
        try:
            with _tcp_socket(family) as sock:
                sock.bind((other, port))
                return
        except OSError:
            continue
