"""A real server process for the commands that talk to one, and a way to call them."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from holdfast.cli.main import main
from holdfast.client import ObjectStore
from tests.serving import ACCESS_KEY, ROOT, SECRET_KEY, ServeProcess


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    process = ServeProcess(
        tmp_path_factory.mktemp("server"), ("--workers", "1", "--durability", "relaxed"), {}
    )
    process.start()
    yield process
    process.destroy()


_numbers = itertools.count()


class Cli:
    """`holdfast` against the server, with a home of its own and a bucket."""

    def __init__(self, server: ServeProcess, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.endpoint = server.endpoint
        self.bucket = f"cli-{os.getpid()}-{next(_numbers)}"
        self.environ = {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "HOLDFAST_ENDPOINT": server.endpoint,
            "HOLDFAST_ACCESS_KEY": ACCESS_KEY,
            "HOLDFAST_SECRET_KEY": SECRET_KEY,
        }
        for name in [n for n in os.environ if n.startswith(("AWS_", "HOLDFAST_"))]:
            monkeypatch.delenv(name)
        for name, value in self.environ.items():
            monkeypatch.setenv(name, value)
        self.store = ObjectStore.connect(
            server.endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY
        )

    def __call__(
        self, *arguments: str, stdin: str | bytes | None = None, status: int = 0
    ) -> Result:
        result = CliRunner().invoke(main, arguments, input=stdin)
        assert result.exit_code == status, f"{arguments}\n{result.output}\n{result.exc_info}"
        if status:
            assert "Traceback" not in result.output
        return result

    def json(self, *arguments: str, status: int = 0) -> list[Any]:
        result = self(*arguments, "--json", status=status)
        return [json.loads(line) for line in result.stdout.splitlines()]

    def url(self, key: str = "") -> str:
        return f"s3://{self.bucket}/{key}"

    def put(self, key: str, body: bytes = b"x") -> None:
        self.store.put_object(self.bucket, key, body)

    def get(self, key: str) -> bytes:
        with self.store.get_object(self.bucket, key) as stream:
            return stream.read()

    def listed(self, prefix: str = "") -> list[str]:
        return [entry.key for entry in self.store.list_objects(self.bucket, prefix)]

    def command(self, *arguments: str) -> list[str]:
        """As a process of its own."""
        return [sys.executable, "-m", "holdfast", *arguments]

    def process_environ(self) -> dict[str, str]:
        return dict(os.environ) | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def cli(server: ServeProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    home = tmp_path / "home"
    home.mkdir()
    made = Cli(server, home, monkeypatch)
    made.store.create_bucket(made.bucket)
    yield made
    made.store.delete_bucket(made.bucket, force=True)
    made.store.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory of files of several sizes, among them names that sort apart from directories."""
    root = tmp_path / "tree"
    files = {
        "a.txt": b"alpha",
        "a/b.txt": b"beta" * 1000,
        "a/c/d.bin": bytes(300_000),
        "a-1.txt": b"",
        "space and ü.txt": b"umlaut",
        "z/e.log": b"log",
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(1_600_000_000_123_456_789,) * 2)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
