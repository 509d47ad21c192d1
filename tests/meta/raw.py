"""A client of the committer by hand, to send what the real one sends only in bad moments."""

from __future__ import annotations

import socket
from pathlib import Path

from holdfast.meta.commands import Command
from holdfast.meta.sqlite.wire import (
    ANSWER_HEAD,
    COMMAND_HEAD,
    HELLO,
    Answer,
    command_encoder,
    decode_answer,
)

WAIT_SECONDS = 20.0


def frame(number: int, command: Command, acknowledged: int = 0) -> bytes:
    body = command_encoder.encode(command)
    return COMMAND_HEAD.pack(len(body), number, acknowledged) + body


class RawClient:
    def __init__(self, directory: Path, session: bytes, hello: bytes = HELLO) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(WAIT_SECONDS)
        self._socket.connect(str(directory / "commit.sock"))
        self._received = b""
        self.send(hello + session)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> tuple[int, Answer]:
        """The next (number, answer). Raises ConnectionError when the committer hangs up."""
        head = self._exactly(ANSWER_HEAD.size)
        length, number = ANSWER_HEAD.unpack(head)
        return number, decode_answer(self._exactly(length))

    def ask(self, number: int, command: Command, acknowledged: int = 0) -> Answer:
        self.send(frame(number, command, acknowledged))
        answered, answer = self.answer()
        assert answered == number
        return answer

    def is_hung_up(self) -> bool:
        try:
            return not self._received and self._socket.recv(1) == b""
        except ConnectionError:
            return True

    def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError
            self._received += data
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def close(self) -> None:
        self._socket.close()
