"""Real programs, a real server process, real files; nothing of it remains on the disk.

With REQUIRE_CLIENTS=1 (CI) a program that is missing fails the tests, else it skips them.
CLIENT_AWS names the aws program where another one comes first on PATH.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ..serving import ServeProcess
from .settings import clean_environment, environment, namespace

Page = Callable[..., dict[str, Any]]

FILES_MIN = 10_000
TREE_FILE_BYTES_MAX = 4 * 1024**2
BIG_BYTES = 1024**3 + 1024**2 + 12_345
COMMAND_SECONDS_MAX = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.clients)


def program(name: str) -> str:
    """The path of a client program; skips, or fails where clients are required."""
    found = shutil.which(os.environ.get(f"CLIENT_{name.upper()}", name))
    if found is None:
        _missing(name)
    return found


def library(name: str) -> Any:
    """A client library; skips, or fails where clients are required."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        _missing(name)


def _missing(name: str) -> NoReturn:
    message = f"{name} is not installed"
    if os.environ.get("REQUIRE_CLIENTS") == "1":
        pytest.fail(f"{message}, and REQUIRE_CLIENTS=1 asks for it")
    pytest.skip(message)


def run(*command: str, env: dict[str, str], cwd: Path | None = None) -> str:
    """What the program wrote, both streams; fails with it when the status is not 0."""
    done = subprocess.run(
        command,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"{' '.join(command)[:500]}\n{output[-5000:]}"
    return output


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory that goes with the test; pytest would keep three."""
    with tempfile.TemporaryDirectory(prefix="holdfast-clients-") as name:
        yield Path(name)


@pytest.fixture
def holdfast(scratch: Path) -> Iterator[ServeProcess]:
    """`holdfast serve` with its defaults: full durability, a worker for each core."""
    directory = scratch / "serve"
    directory.mkdir()
    process = ServeProcess(directory, (), {})
    process.start()
    yield process
    process.destroy()


def use_environment(monkeypatch: pytest.MonkeyPatch, env: dict[str, str]) -> None:
    """Give this process these variables and no others, for as long as the test runs."""
    for name in os.environ.keys() - env.keys():
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def page(holdfast: ServeProcess, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    """page(section, variables=other): run the section's Python block and give what it defines;
    in the environment of the section `other`, else in one that says nothing of any server."""

    def run_block(section: str, variables: str = "") -> dict[str, Any]:
        env = environment(variables, holdfast.endpoint) if variables else clean_environment()
        use_environment(monkeypatch, env)
        monkeypatch.chdir(scratch)
        return namespace(section, holdfast.endpoint)

    return run_block


@pytest.fixture(scope="session")
def tree() -> Iterator[Path]:
    """10,000 files and more: Python's library and site-packages, in order of their names, without
    symlinks and the few very large ones; beside them names that need care."""
    with tempfile.TemporaryDirectory(prefix="holdfast-tree-") as name:
        root = Path(name)
        odd = root / "odd names"
        odd.mkdir()
        for odd_name in ("a b+c%41&d=e;f.txt", "ünïcødé 世界", "'quoted' (1) [2] {3}", "~#@!$^,"):
            (odd / odd_name).write_text(odd_name)
        (odd / "empty").touch()
        count = 5
        sources = dict.fromkeys(sysconfig.get_path(p) for p in ("purelib", "platlib", "stdlib"))
        for index, source in enumerate(sources):
            count += _link_files(Path(source), root / str(index), FILES_MIN - count)
        assert count >= FILES_MIN, f"only {count} files in {list(sources)}"
        yield root


def _link_files(source: Path, target: Path, limit: int) -> int:
    """Link up to `limit` files below `target`; how many it were."""
    count = 0
    for directory, names, files in os.walk(source):
        names.sort()
        for name in sorted(files):
            path = Path(directory, name)
            if count >= limit:
                return count
            if path.is_symlink() or path.stat().st_size > TREE_FILE_BYTES_MAX:
                continue
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, copy)
            except OSError:
                shutil.copy2(path, copy)
            count += 1
    return count


@pytest.fixture(scope="session")
def some(tree: Path) -> Callable[[int], Iterator[Path]]:
    """some(count): that many files of the tree, the odd names among them."""

    def choose(count: int) -> Iterator[Path]:
        files = sorted(path for path in tree.rglob("*") if path.is_file())
        step = max(1, len(files) // count)
        chosen = {*files[::step][:count], *(path for path in files if "odd names" in path.parts)}
        yield from sorted(chosen)

    return choose


@pytest.fixture(scope="session")
def big_file() -> Iterator[Path]:
    """More than 1 GiB in which no two MiB are alike."""
    with tempfile.TemporaryDirectory(prefix="holdfast-big-") as name:
        path = Path(name, "big file")
        block = os.urandom(1024**2)
        with path.open("wb") as file:
            for number in range(BIG_BYTES // len(block) + 1):
                file.write(number.to_bytes(8, "big") + block[8:])
            file.truncate(BIG_BYTES)
        yield path


def same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb") as a, other.open("rb") as b:
        while True:
            left, right = a.read(1 << 20), b.read(1 << 20)
            if left != right:
                return False
            if not left:
                return True


def assert_same_trees(one: Path, other: Path) -> int:
    """Same names, same bytes; how many files."""
    names = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    assert names == {path.relative_to(other) for path in other.rglob("*") if path.is_file()}
    different = [name for name in names if not same_bytes(one / name, other / name)]
    assert different == []
    return len(names)
