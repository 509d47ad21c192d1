"""The examples of the documentation run as they are written, but for the port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.testing.server import Server

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _examples() -> list[tuple[str, str]]:
    return [
        (f"{name}-{number}", code)
        for name in ("README.md", "docs/client.md")
        for number, code in enumerate(_BLOCK.findall((ROOT / name).read_text()))
        if "ObjectStore" in code
    ]


def test_there_are_examples() -> None:
    assert len(_examples()) >= 7


@pytest.mark.parametrize("code", [code for _, code in _examples()], ids=[n for n, _ in _examples()])
def test_example(code: str, tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if "HOLDFAST" not in name}
    with Server() as server:
        environ |= {
            "HOLDFAST_ACCESS_KEY": server.access_key,
            "HOLDFAST_SECRET_KEY": server.secret_key,
            "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT),
        }
        text = code.replace("http://localhost:9000", server.endpoint)
        assert text != code
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", text],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
