"""A TCP proxy that breaks what passes through it, and a server that answers as it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

PIECE_BYTES = 16 * 1024


class Proxy:
    """Forwards to `url`. Each cut in `down_cuts` (`up_cuts`) ends one connection after so many bytes
    of answers (requests); a connection that does not get so far leaves the cut to the next."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 80)
        self.down_cuts: list[int] = []
        self.up_cuts: list[int] = []
        self.connections = 0
        #: changes what the server says
        self.change: Callable[[bytes], bytes] = lambda data: data
        #: told of the bytes of each piece of requests
        self.seen_up: Callable[[int], object] = lambda count: None
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self._threads[0].start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self.connections += 1
            self._open += [near, far]
            for one, other, cuts in ((near, far, self.up_cuts), (far, near, self.down_cuts)):
                thread = threading.Thread(target=self._forward, args=(one, other, cuts))
                self._threads.append(thread)
                thread.start()

    def _forward(self, source: socket.socket, sink: socket.socket, cuts: list[int]) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                if cuts is self.down_cuts:
                    data = self.change(data)
                else:
                    self.seen_up(len(data))
                with self._lock:
                    cut = bool(cuts) and passed + len(data) >= cuts[0]
                    if cut:
                        data = data[: cuts.pop(0) - passed]
                sink.sendall(data)
                passed += len(data)
                if cut:
                    break
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in self._open:
            sock.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Scripted:
    """Answers the n-th request with the n-th answer, whatever it is, then closes what is left. b""
    closes the connection without an answer. `requests` are the heads seen."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)
        self.requests: list[str] = []
        self._connection: socket.socket | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connection = connection
                with connection:
                    connection.settimeout(20)
                    with suppress(OSError):
                        while self._answer(connection):
                            pass

    def _answer(self, connection: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        text = head.decode("latin-1")
        length = 0
        for line in text.split("\r\n"):
            if line.startswith("content-length:"):
                length = int(line.partition(":")[2])
        while len(body) < length:
            body += connection.recv(65536)
        self.requests.append(text)
        answer = self._answers.pop(0) if self._answers else b""
        connection.sendall(answer)
        return bool(answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._connection is not None:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{lines}\r\n"
    return head.encode("latin-1") + body


def error(status: int, code: str, **headers: str) -> bytes:
    text = f"<Error><Code>{code}</Code><Message>m</Message><RequestId>r</RequestId></Error>"
    return answer(status, text.encode(), **headers)
