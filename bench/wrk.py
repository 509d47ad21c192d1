"""The same load by wrk, where it is installed: a check of the bench's own generator.

wrk plays a file of requests in order (play.lua). It frames the answers but looks at nothing of them
but a status above 399; so the bytes read must be those of that many right answers. It can't play HEAD
(it would wait for a body), nor requests whose answers differ. Its latencies are corrected for
coordinated omission, so its percentiles are a little higher than the bench's own.
https://github.com/wg/wrk
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.load import Address, Outcome, Request, allow_files
from bench.plan import Workload
from bench.requests import range_bytes

REQUEST_BYTES_MAX = 128 * 1024
#: a head of an answer is not longer
_HEAD_BYTES_MAX = 4096
_HEAD_BYTES_MIN = 20
_GRACE_SECONDS = 60.0
_ERROR_NAMES = ("connect", "socket read", "socket write", "status above 399", "timeout")
_SCRIPT = Path(__file__).with_name("play.lua")


def is_there() -> bool:
    return shutil.which("wrk") is not None


def can_play(workload: Workload) -> bool:
    """Whether wrk can send it and tell a wrong answer."""
    return workload.op in ("get", "range", "delete") or (
        workload.op == "put" and workload.size <= REQUEST_BYTES_MAX
    )


def run_wrk(
    address: Address,
    requests: Sequence[Request],
    workload: Workload,
    *,
    connections: int,
    seconds: float,
    once: bool,
) -> Outcome:
    """Play the requests for some seconds, at least one. once: it is an error when they do not last.

    Raises OSError when wrk can't be run.
    """
    allow_files(connections)
    fd = os.memfd_create("bench-requests", 0)  # inherited by wrk
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            for request in requests:
                file.write(struct.pack("<I", sum(map(len, request))))
                file.writelines(request)
        os.set_inheritable(fd, True)
        host = f"[{address.host}]" if ":" in address.host else address.host
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
            "--timeout",
            "30s",
        ]
        command += [
            "-s",
            str(_SCRIPT),
            f"http{'s' if address.tls else ''}://{host}:{address.port}/",
        ]
        done = subprocess.run(
            command,
            env={**os.environ, "FILE": f"/proc/self/fd/{fd}"},
            pass_fds=(fd,),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds + _GRACE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"wrk did not end: {error}") from None
    finally:
        os.close(fd)
    outcome = read_result(done.stdout)
    if outcome is None:
        raise OSError(f"wrk: {(done.stderr or done.stdout)[-500:]}")
    _check(outcome, workload, len(requests) if once else None)
    return outcome


def read_result(text: str) -> Outcome | None:
    """What play.lua printed; None where it printed no result."""
    total = re.search(r"^TOTAL (\d+) (\d+) (\d+) ([\d.]+)$", text, re.MULTILINE)
    errors = re.search(r"^ERRORS (\d+) (\d+) (\d+) (\d+) (\d+)$", text, re.MULTILINE)
    if not total or not errors:
        return None
    outcome = Outcome(
        seconds=int(total[3]) / 1e6,
        client_seconds=float(total[4]),
        bytes_moved=int(total[2]),
        counted=int(total[1]),
    )
    for found in re.finditer(r"^LATENCY (\d+) (\d+)$", text, re.MULTILINE):
        outcome.latencies += [int(found[1]) / 1e6] * int(found[2])
    for name, count in zip(_ERROR_NAMES, errors.groups(), strict=True):
        if int(count):
            outcome.errors[f"wrk: {name}"] += int(count)
    return outcome


def _check(outcome: Outcome, workload: Workload, most: int | None) -> None:
    """Count what shows that not all the answers were right."""
    if most is not None and outcome.answered > most:
        outcome.errors[f"wrk: the {most} requests did not last, some were sent again"] += 1
    size = {"get": workload.size, "range": range_bytes(workload.size)}.get(workload.op, 0)
    count = max(1, outcome.answered)
    each = outcome.bytes_moved / count
    # every answer in full; what was under way at the end may come on top
    if (
        not size + _HEAD_BYTES_MIN
        <= each
        <= (size + _HEAD_BYTES_MAX) * (1 + workload.connections / count)
    ):
        outcome.errors[
            f"wrk: answers of {each:.0f} bytes on average, not of {size} and a head"
        ] += 1
