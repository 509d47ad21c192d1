"""Frames between clients and the committer, over a Unix stream socket.

Client to committer: first HELLO and 16 bytes of session id, then commands. A command is a head
(`length`, `number`, `acknowledged`) and `length` bytes of msgpack. Numbers rise within a session
and name a command for ever; `acknowledged`: every number up to it needs no answer any more.
Committer to client: a head (`length`, `number`) and a msgpack Answer.
"""

from __future__ import annotations

import struct

import msgspec

from holdfast.meta.commands import Command, Result

HELLO = b"HFM1"
SESSION_BYTES = 16
HELLO_BYTES = len(HELLO) + SESSION_BYTES
COMMAND_HEAD = struct.Struct("<IQQ")
ANSWER_HEAD = struct.Struct("<IQ")
COMMAND_BYTES_MAX = 16 << 20
ANSWER_BYTES_MAX = 1 << 20


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=100):
    """The command could not be applied; nothing of it was done. `reason` is for the log."""

    reason: str


Answer = Result | Failed

command_encoder = msgspec.msgpack.Encoder()
decode_command = msgspec.msgpack.Decoder(Command).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
_answer_encoder = msgspec.msgpack.Encoder()


def encode_answer(number: int, answer: Answer) -> bytes:
    packed = _answer_encoder.encode(answer)
    return ANSWER_HEAD.pack(len(packed), number) + packed


def split_answers(frames: bytes) -> dict[int, bytes]:
    """Joined answer frames by number, in their order."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(frames):
        length, number = ANSWER_HEAD.unpack_from(frames, at)
        end = at + ANSWER_HEAD.size + length
        found[number] = frames[at:end]
        at = end
    return found
