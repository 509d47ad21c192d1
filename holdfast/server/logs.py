"""The log on standard error, and the access log.

Rule: a secret never gets into a log (signatures and credentials of presigned URLs are masked), and
no request waits for a log: access lines are gathered and written by a thread.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import stat
import sys
import time
import urllib.parse

from holdfast.http.access import AccessRecord

#: access lines are written this long after the first of them, or when so many bytes have gathered
FLUSH_SECONDS = 0.5
FLUSH_BYTES = 64 << 10
#: lines beyond it are dropped and counted: the disk or the pipe does not keep up
BUFFER_BYTES_MAX = 8 << 20
#: one write to a pipe is only whole up to PIPE_BUF
PIPE_WRITE_BYTES = 4096
TARGET_CHARS_MAX = 2048
TEXT_LINE = '{time} {peer} {request_id} "{method} {target}" {status} {bytes} {ms:.3f} {error}'
SECRET_PARAMETERS = frozenset(
    {"x-amz-signature", "x-amz-credential", "x-amz-security-token", "signature", "awsaccesskeyid"}
)

_log = logging.getLogger("holdfast.log")

_UNPRINTABLE = re.compile(r"[^\x21\x23-\x5b\x5d-\x7e]")  # blank, quote, backslash and controls


class TextFormatter(logging.Formatter):
    """`time level logger: message`, the time in UTC."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
        )


class JsonFormatter(logging.Formatter):
    """One JSON object in one line: time, level, logger, pid, message, and where given the fields
    `request_id` and `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        for name in ("request_id", "fields"):
            if (value := getattr(record, name, None)) is not None:
                entry[name] = value
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=True)


def configure(log_format: str) -> None:
    """Send everything under `holdfast` (and asyncio's own complaints) to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    for name in ("holdfast", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
    logging.getLogger("holdfast").setLevel(logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def masked_target(path: str, query: str) -> str:
    """The request's target for a log: bounded, printable, nothing in it to sign or replay with."""
    target = path
    if query:
        target += "?" + "&".join(_masked(pair) for pair in query.split("&"))
    if len(target) > TARGET_CHARS_MAX:
        target = target[:TARGET_CHARS_MAX] + "..."
    return _UNPRINTABLE.sub(lambda match: f"%{ord(match[0]) & 0xFF:02X}", target)


def _masked(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    if equals and urllib.parse.unquote(name).lower() in SECRET_PARAMETERS:
        return name + "=***"
    return pair


def _timestamp(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}Z"


def check_access_log(path: str) -> None:
    """Raises OSError, which says why no access log can be written to `path`."""
    try:
        os.close(_open_access_log(path))
    except OSError as error:
        raise OSError(f"the access log {path} can't be opened: {error.strerror}") from None


def _open_access_log(path: str) -> int:
    if path == "-":
        return os.dup(1)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)


class AccessLog:
    """Lines of one worker, in order. All methods but `_write` run on the loop's thread.

    text: TEXT_LINE; json: an object with these names.
    """

    def __init__(self, path: str, as_json: bool, loop: asyncio.AbstractEventLoop) -> None:
        """`-` is standard output. Raises OSError when the file can't be opened."""
        self._path = path
        self._json = as_json
        self._loop = loop
        self._lines: list[bytes] = []
        self._bytes = 0
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None
        self._fd = _open_access_log(path)

    def add(self, record: AccessRecord) -> None:
        """Note one request that is over."""
        request = record.request
        path, _, query = record.target.partition("?")
        entry = {
            "time": _timestamp(time.time()),
            "peer": request.peer if request is not None else "",
            "request_id": record.request_id,
            "method": record.method,
            "target": masked_target(path, query),
            "status": record.status,
            "bytes": record.bytes_sent,
            "ms": round(record.seconds * 1000, 3),
            "error": record.error,
        }
        if self._json:
            text = json.dumps(entry)
        else:
            entry = {name: value if value != "" else "-" for name, value in entry.items()}
            text = TEXT_LINE.format(**entry)
        text = text.replace("\n", " ")  # one request, one line, whatever the error says
        line = text.encode("ascii", "replace") + b"\n"
        if self._bytes + len(line) > BUFFER_BYTES_MAX:
            self._dropped += 1
            return
        self._lines.append(line)
        self._bytes += len(line)
        if self._bytes >= FLUSH_BYTES:
            self._flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(FLUSH_SECONDS, self._flush)

    def reopen(self) -> None:
        """After a rotation: go on in a new file of the same name."""
        try:
            fd = _open_access_log(self._path)
        except OSError as error:
            _log.error("the access log %s can't be opened anew: %s", self._path, error)
            return
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)

    async def close(self) -> None:
        """Write what is left."""
        while self._lines or self._writing is not None:
            self._flush()
            if self._writing is not None:
                await asyncio.wait({self._writing})  # its failure is logged by _written
        os.close(self._fd)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None or not self._lines:
            return
        lines, self._lines, self._bytes = self._lines, [], 0
        self._writing = self._loop.run_in_executor(None, self._write, lines)
        self._writing.add_done_callback(self._written)

    def _written(self, done: asyncio.Future[None]) -> None:
        self._writing = None
        if not done.cancelled() and (error := done.exception()) is not None:
            _log.error("the access log %s can't be written: %s", self._path, error)
        if self._dropped:
            _log.error("%d lines of the access log were dropped", self._dropped)
            self._dropped = 0
        if self._lines and self._timer is None:
            self._timer = self._loop.call_later(FLUSH_SECONDS, self._flush)

    def _write(self, lines: list[bytes]) -> None:
        regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        for chunk in _chunks(lines, FLUSH_BYTES if regular else PIPE_WRITE_BYTES):
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._fd, view) :]


def _chunks(lines: list[bytes], size_bytes: int) -> list[bytes]:
    """Whole lines joined, each chunk up to `size_bytes` (a single longer line stands alone)."""
    chunks: list[bytes] = []
    gathered: list[bytes] = []
    gathered_bytes = 0
    for line in lines:
        if gathered and gathered_bytes + len(line) > size_bytes:
            chunks.append(b"".join(gathered))
            gathered, gathered_bytes = [], 0
        gathered.append(line)
        gathered_bytes += len(line)
    if gathered:
        chunks.append(b"".join(gathered))
    return chunks
