"""`python -m tests.cli.resume`: kill `holdfast cp` and the server in the middle, and go on.

One large file, up and down, whose command is killed (SIGKILL) when half has arrived and is then run
again; and a `sync` of a tree during which the whole server is killed and started again. The end must
be equal, byte by byte, and little may travel twice; what did is counted in the server's access log.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.client import NoSuchUpload, ObjectStore
from holdfast.server.logs import FLUSH_SECONDS
from tests.serving import ACCESS_KEY, ROOT, SECRET_KEY, ServeProcess

MIB = 1024 * 1024
#: of large transfers by the command line: the client's default
PART_BYTES = 16 * MIB
#: until the access log has what was answered: its lines are written FLUSH_SECONDS later
LOG_SECONDS = 2 * FLUSH_SECONDS
WAIT_SECONDS_MAX = 300.0
RESTART_SECONDS = 1.0


class Transfer(NamedTuple):
    """Of one large file. `before_the_kill`: parts that were whole by then; `afterwards`: that the
    second run asked for."""

    size: int
    before_the_kill: int
    afterwards: int
    seconds: float

    @property
    def parts(self) -> int:
        return -(-self.size // PART_BYTES)

    @property
    def twice(self) -> int:
        return self.before_the_kill + self.afterwards - self.parts

    def line(self, what: str) -> str:
        return (
            f"{what}: {self.size // MIB} MiB in {self.parts} parts; {self.before_the_kill} whole when "
            f"killed, {self.afterwards} in the second run ({self.seconds:.1f} s), "
            f"{self.twice} of them for the second time"
        )


class Synced(NamedTuple):
    files: int
    puts: int
    seconds: float
    again: int

    def line(self) -> str:
        return (
            f"sync, the server killed and started again: {self.files} files, {self.puts} PUTs answered, "
            f"{self.seconds:.1f} s; run again it copied {self.again}"
        )


class Scene:
    """A server, and commands that talk to it."""

    def __init__(self, directory: Path, arguments: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self._log = directory / "access.log"
        options = ("--workers", "2", "--access-log", str(self._log), "--log-format", "json")
        self.server = ServeProcess(directory, options + arguments, {})
        home = directory / "home"
        home.mkdir()
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "HOLDFAST_"))}
        self._environ = kept | {
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "PYTHONPATH": str(ROOT),
            "HOLDFAST_ENDPOINT": self.server.endpoint,
            "HOLDFAST_ACCESS_KEY": ACCESS_KEY,
            "HOLDFAST_SECRET_KEY": SECRET_KEY,
        }

    def __enter__(self) -> Scene:
        self.server.start()
        self.run("mb", "s3://kill")
        return self

    def __exit__(self, *_: object) -> None:
        self.server.destroy()

    def command(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "holdfast", *arguments],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def store(self) -> ObjectStore:
        return ObjectStore.connect(
            self.server.endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY
        )

    def run(self, *arguments: str) -> bytes:
        """Its standard output. It must succeed."""
        process = self.command(*arguments)
        out, err = process.communicate(timeout=WAIT_SECONDS_MAX)
        assert process.returncode == 0, f"{arguments}: {err.decode()}"
        return out

    def done(self, method: str, words: str, since: float = 0.0) -> int:
        """Requests that were answered well so far, of a method and with `words` in their target,
        and that began not before `since` (seconds since the epoch)."""
        count = 0
        for line in self._log.read_bytes().splitlines() if self._log.exists() else ():
            try:
                entry: dict[str, Any] = json.loads(line)
            except ValueError:
                continue  # cut by the kill
            good = entry["method"] == method and entry["status"] in (200, 206)
            ended = datetime.fromisoformat(entry["time"]).timestamp()
            fresh = ended - entry["ms"] / 1000 >= since
            count += good and fresh and words in entry["target"]
        return count


def killed_transfer(
    scene: Scene, source: str, target: str, arrived: Callable[[], int], request: tuple[str, str]
) -> Transfer:
    """`holdfast cp SOURCE TARGET`, killed when half of the parts have `arrived`, and again.
    `request`: method of a part's, and words in its target. Raises AssertionError."""
    size = (scene.directory / "large").stat().st_size
    parts = -(-size // PART_BYTES)
    process = scene.command("cp", source, target)
    _wait(lambda: process.poll() is not None or arrived() >= parts // 2)
    process.kill()
    process.communicate()
    assert process.returncode < 0, "it ended before it could be killed: use a larger size"
    time.sleep(LOG_SECONDS)
    first = arrived()
    began = time.time()
    scene.run("cp", source, target)
    seconds = time.time() - began
    time.sleep(LOG_SECONDS)
    return Transfer(size, first, scene.done(*request, since=began), seconds)


def upload_and_download(scene: Scene, size: int) -> tuple[Transfer, Transfer]:
    large, back = scene.directory / "large", scene.directory / "back"
    with large.open("wb") as file:
        for start in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - start)))
    url = "s3://kill/large"
    with scene.store() as store:
        up = killed_transfer(
            scene, str(large), url, lambda: _sent(store), ("PUT", "/kill/large?partNumber=")
        )
    down = killed_transfer(scene, url, str(back), lambda: _received(back), ("GET", "/kill/large"))
    assert filecmp.cmp(large, back, shallow=False), "what came back is not what was sent"
    left = [path.name for path in scene.directory.iterdir() if ".part" in path.name]
    assert not left, f"left over: {left}"
    return up, down


def _sent(store: ObjectStore) -> int:
    """Parts that the server has of the upload."""
    for upload in store.list_uploads("kill"):
        query = {"uploadId": upload.upload_id}
        try:
            return store.request("GET", "kill", "large", query=query).body.count(b"<PartNumber>")
        except NoSuchUpload:  # just completed
            return 0
    return 0


def _received(path: Path) -> int:
    try:
        state = json.loads(path.with_name(f"{path.name}.part.json").read_text())
    except FileNotFoundError:
        return 0
    return len(state["done"])


def sync_over_a_kill(scene: Scene, files: int, bytes_max: int) -> Synced:
    tree, back = scene.directory / "tree", scene.directory / "tree-back"
    chance = random.Random(1)
    for number in range(files):
        path = tree / f"d{number % 20}" / f"f{number:05}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randint(1, bytes_max)))
    began = time.perf_counter()
    process = scene.command("sync", str(tree), "s3://kill/tree")
    _wait(lambda: process.poll() is not None or scene.done("PUT", "/kill/tree/") >= files // 3)
    ended = process.poll() is not None
    scene.server.destroy()
    assert not ended, "it ended before the server was killed: use more files"
    time.sleep(RESTART_SECONDS)
    scene.server.start()
    _, err = process.communicate(timeout=WAIT_SECONDS_MAX)
    assert process.returncode == 0, err.decode()
    seconds = time.perf_counter() - began
    again = scene.run("sync", str(tree), "s3://kill/tree", "--json").splitlines()
    scene.run("sync", "s3://kill/tree", str(back))
    for path in tree.rglob("*"):
        same = back / path.relative_to(tree)
        assert path.is_dir() or filecmp.cmp(path, same, shallow=False), f"{path} differs"
    assert sum(path.is_file() for path in back.rglob("*")) == files
    return Synced(files, scene.done("PUT", "/kill/tree/"), seconds, len(again))


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def _size(text: str) -> int:
    from holdfast.cli.objects.output import SIZE

    return SIZE.convert(text, None, None)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cli.resume", description=__doc__)
    parser.add_argument("--size", type=_size, default=1024 * MIB, help="of the large file (1GiB)")
    parser.add_argument("--files", type=int, default=5000, help="of the tree, up to 64 KiB each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-resume-") as name, Scene(Path(name)) as scene:
        up, down = upload_and_download(scene, options.size)
        print(up.line("upload"), down.line("download"), sep="\n", flush=True)
        print(sync_over_a_kill(scene, options.files, 64 * 1024).line(), flush=True)


if __name__ == "__main__":
    main()
