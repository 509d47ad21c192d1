"""The far end of the wire for the bench's tests: real sockets, answers as the test wants them."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from bench.endpoint import Endpoint, parse_endpoint

#: (method, target, body) to the raw answer; None closes the connection without one
Answer = Callable[[str, str, bytes], bytes | None]


def response(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join((*lines, "", "")).encode() + body


@contextlib.contextmanager
def far_end(answer: Answer, certificate: Path | None = None) -> Iterator[Endpoint]:
    """Serve until the block ends; yields an endpoint that points there.

    certificate: a PEM file with key and certificate; then it speaks TLS.
    """
    tls: ssl.SSLContext | None = None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []
        open_sockets: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                open_sockets.append(sock)
                threads.append(threading.Thread(target=_serve, args=(sock, answer, tls)))
                threads[-1].start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        port = listener.getsockname()[1]
        try:
            yield parse_endpoint(
                f"far=http{'s' if certificate else ''}://127.0.0.1:{port},access,secret",
                "us-east-1",
                allow_remote=False,
                tls=ssl.create_default_context(cafile=certificate) if certificate else None,
            )
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for sock in open_sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def _serve(plain: socket.socket, answer: Answer, tls: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        stack.enter_context(plain)
        sock = stack.enter_context(tls.wrap_socket(plain, server_side=True)) if tls else plain
        stream = stack.enter_context(sock.makefile("rb"))
        while line := stream.readline():
            method, target, _ = line.decode().split(" ", 2)
            head = b"".join(iter(stream.readline, b"\r\n"))
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            raw = answer(method, target, stream.read(int(length[1])) if length else b"")
            if raw is None:
                return
            sock.sendall(raw)


class TinyStore:
    """Just enough of S3 for a whole run of the bench: objects, listings, DeleteObjects."""

    def __init__(self) -> None:
        self.buckets: dict[str, dict[str, bytes]] = {}

    def __call__(self, method: str, target: str, body: bytes) -> bytes:
        parts = urlsplit(target)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        if not bucket:
            return response(200, b"<ListAllMyBucketsResult/>")
        if method == "PUT" and not key:
            self.buckets[bucket] = {}
            return response(200)
        if bucket not in self.buckets:
            return response(404)
        objects = self.buckets[bucket]
        if not key:
            return self._bucket(method, bucket, parse_qs(parts.query), body)
        if method == "PUT":
            objects[key] = body
            return response(200)
        if method == "DELETE":
            objects.pop(key, None)
            return b"HTTP/1.1 204 No Content\r\n\r\n"
        if key not in objects:
            return response(404)
        full = response(200, objects[key])
        return full[: len(full) - len(objects[key])] if method == "HEAD" else full

    def _bucket(self, method: str, bucket: str, query: dict[str, list[str]], body: bytes) -> bytes:
        if method == "DELETE":
            del self.buckets[bucket]
            return response(204)[: -len("\r\n")] + b"\r\n"
        if method == "POST":
            for key in re.findall(rb"<Key>([^<]*)</Key>", body):
                del self.buckets[bucket][key.decode()]
            return response(200, b"<DeleteResult/>")
        if method == "HEAD":
            return response(200)
        after = query.get("start-after", [""])[0]
        page = int(query["max-keys"][0])
        keys = [key for key in sorted(self.buckets[bucket]) if key > after][:page]
        entries = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
        return response(200, f"<ListBucketResult>{entries}</ListBucketResult>".encode())
