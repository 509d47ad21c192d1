"""Logs: no secret gets in, nothing breaks a line, nothing is lost or grows without end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path

import pytest

from holdfast.http.access import AccessRecord
from holdfast.server.logs import AccessLog, JsonFormatter, TextFormatter, masked_target


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", "/b/k"),
        ("X-Amz-Signature=abc&a=1", "/b/k?X-Amz-Signature=***&a=1"),
        ("x-amz-credential=AK%2F1", "/b/k?x-amz-credential=***"),
        ("a&X-Amz-Security-Token=t", "/b/k?a&X-Amz-Security-Token=***"),
        ("X%2DAmz%2DSignature=abc", "/b/k?X%2DAmz%2DSignature=***"),
        ("AWSAccessKeyId=a&Signature=b&uploads", "/b/k?AWSAccessKeyId=***&Signature=***&uploads"),
        ('a="b\n', "/b/k?a=%22b%0A"),
    ],
)  # fmt: skip
def test_targets_without_secrets(query: str, shown: str) -> None:
    assert masked_target("/b/k", query) == shown


def test_targets_are_bounded() -> None:
    assert len(masked_target("/" + "x" * 100_000, "")) < 3000


def _record(target: str) -> AccessRecord:
    return AccessRecord(None, "GET", target, 200, 5, 0.0123, "00AA", "")


def _write(path: Path, as_json: bool, targets: list[str]) -> None:
    async def main() -> None:
        log = AccessLog(str(path), as_json, asyncio.get_running_loop())
        for target in targets:
            log.add(_record(target))
        await log.close()

    asyncio.run(main())


def test_a_line_for_each_request_in_order(tmp_path: Path) -> None:
    targets = [f"/b/{n}?X-Amz-Signature=s" for n in range(3000)]
    _write(tmp_path / "text", False, targets)
    lines = (tmp_path / "text").read_text().splitlines()
    assert len(lines) == 3000
    for n in (0, 2999):
        assert lines[n].endswith(f' - 00AA "GET /b/{n}?X-Amz-Signature=***" 200 5 12.300 -')
    _write(tmp_path / "json", True, targets[:2])
    second = json.loads((tmp_path / "json").read_text().splitlines()[1])
    assert second["target"] == "/b/1?X-Amz-Signature=***"
    assert (second["status"], second["bytes"], second["ms"]) == (200, 5, 12.3)
    assert second["request_id"] == "00AA"


def test_goes_on_in_a_new_file_after_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"

    async def main() -> None:
        log = AccessLog(str(path), False, asyncio.get_running_loop())
        log.add(_record("/old"))
        os.rename(path, tmp_path / "log.1")
        log.reopen()
        log.add(_record("/new"))
        await log.close()

    asyncio.run(main())
    assert "/new" in path.read_text()


def test_a_disk_that_refuses_harms_no_request(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        _write(Path("/dev/full"), False, ["/a"])
    assert "can't be written" in caplog.text


def test_formats() -> None:
    record = logging.LogRecord("holdfast.x", logging.ERROR, __file__, 1, "line\n%d", (2,), None)
    record.request_id = "00AA"
    entry = json.loads(JsonFormatter().format(record))
    assert entry["message"] == "line\n2"
    assert (entry["level"], entry["logger"], entry["request_id"]) == ("error", "holdfast.x", "00AA")
    assert "\n" not in JsonFormatter().format(record)
    assert "ERROR   holdfast.x: line" in TextFormatter().format(record)
