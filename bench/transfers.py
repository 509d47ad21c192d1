"""Whole transfers by command lines and libraries, side by side: `python -m bench.transfers`.

Many small files and one large one, up and down. Each tool is a process of its own, timed from its start
to its end, in a bucket of its own (content is shared within a bucket); the order turns with each repeat.
What came down is compared with what went up. Tools that are not installed are left out. Nothing here
syncs what it writes locally: none of these tools does.
"""

from __future__ import annotations

import filecmp
import os
import random
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from bench.endpoint import parse_endpoint
from bench.launch import Server

if TYPE_CHECKING:
    from holdfast.client import ObjectStore

ACCESS_KEY, SECRET_KEY = "bench-access-key", "bench-secret-key"
SMALL_BYTES = (4 * 1024, 64 * 1024)
FILES_A_DIRECTORY = 100
WORKS = ("many up", "many down", "one up", "one down")
_THREADS = 16
_ZEROS = bytes(2**20)


class Tool(NamedTuple):
    """`commands`: of copying a directory or file `local` to or from `bucket`, by work."""

    name: str
    is_there: Callable[[], bool]
    command: Callable[[str, Path, str], list[str]]


class Timing(NamedTuple):
    """Seconds: by the clock, and of the tool's processor time."""

    wall: float
    cpu: float


def _holdfast(work: str, local: Path, bucket: str) -> list[str]:
    remote = f"s3://{bucket}/{'data' if work.startswith('many') else 'file'}"
    pair = [str(local), remote] if work.endswith("up") else [remote, str(local)]
    flags = ["-r"] if work.startswith("many") else []
    return [sys.executable, "-m", "holdfast", "cp", *flags, *pair]


def _aws(work: str, local: Path, bucket: str) -> list[str]:
    command = ["aws", "s3", *_holdfast(work, local, bucket)[3:], "--only-show-errors"]
    return [text if text != "-r" else "--recursive" for text in command]


def _rclone(*flags: str) -> Callable[[str, Path, str], list[str]]:
    def command(work: str, local: Path, bucket: str) -> list[str]:
        many = work.startswith("many")
        remote = f"bench:{bucket}/{'data' if many else 'file'}"
        pair = [str(local), remote] if work.endswith("up") else [remote, str(local)]
        return ["rclone", "copy" if many else "copyto", *pair, *flags]

    return command


def _library(name: str) -> Callable[[str, Path, str], list[str]]:
    def command(work: str, local: Path, bucket: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "bench.transfers",
            "--library",
            name,
            work,
            str(local),
            bucket,
        ]

    return command


def _has(module: str) -> Callable[[], bool]:
    return lambda: find_spec(module) is not None


def _runs(program: str) -> Callable[[], bool]:
    return lambda: shutil.which(program) is not None


TOOLS = (
    Tool("holdfast", lambda: True, _holdfast),
    Tool("holdfast client", lambda: True, _library("holdfast")),
    Tool("holdfast client, async", lambda: True, _library("holdfast-async")),
    Tool("aws-cli", _runs("aws"), _aws),
    Tool("rclone", _runs("rclone"), _rclone()),
    Tool("rclone, 16 at once", _runs("rclone"), _rclone("--transfers=16", "--checkers=16")),
    Tool("boto3", _has("boto3"), _library("boto3")),
    Tool("obstore", _has("obstore"), _library("obstore")),
)


def _environ(endpoint: str, home: Path) -> dict[str, str]:
    rclone = {
        "TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": endpoint, "ACCESS_KEY_ID": ACCESS_KEY,
        "SECRET_ACCESS_KEY": SECRET_KEY, "REGION": "us-east-1",
    }  # fmt: skip
    dropped = ("AWS_", "PYTHONDONTWRITEBYTECODE")  # an installed program has its bytecode, too
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    root = str(Path(__file__).resolve().parents[1])
    return kept | {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home),
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "PYTHONPYCACHEPREFIX": str(home / "bytecode"),
        "HOLDFAST_ENDPOINT": endpoint,
        "HOLDFAST_ACCESS_KEY": ACCESS_KEY,
        "HOLDFAST_SECRET_KEY": SECRET_KEY,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "RCLONE_CONFIG": os.devnull,
        **{f"RCLONE_CONFIG_BENCH_{name}": value for name, value in rclone.items()},
    }


class Bench:
    def __init__(self, endpoint: str, directory: Path, files: int, large_bytes: int) -> None:
        self._endpoint = endpoint
        self._directory = directory
        self._environ = _environ(endpoint, directory / "home")
        (directory / "home").mkdir()
        self._tree = directory / "tree"
        self._large = directory / "large.bin"
        self.small_bytes = _make_tree(self._tree, files)
        self.large_bytes = large_bytes
        with self._large.open("wb") as file:
            for _ in range(large_bytes // 2**20):
                file.write(os.urandom(2**20))

    def warm_up(self) -> None:
        """Bytecode is written, programs are in the page cache."""
        for command in ([sys.executable, "-m", "holdfast", "ls"], ["aws", "--version"]):
            if shutil.which(command[0]):
                self._timed(command)

    def measure(self, tool: Tool, number: int) -> dict[str, Timing]:
        """All works of one tool. Raises ClickException for wrong bytes. Small files stay until the end:
        for five seconds ext4 uses no inode again, and looks for others at whoever's cost comes next."""
        from holdfast.client import ObjectStore

        bucket = f"bench-transfers-{os.getpid()}-{number}"
        down = self._directory / f"down-{number}"
        found = {}
        with ObjectStore.connect(
            self._endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY
        ) as store:
            store.create_bucket(bucket)
            for work in WORKS:
                many, up = work.startswith("many"), work.endswith("up")
                source = self._tree if many else self._large
                local = source if up else down / source.name
                local.parent.mkdir(exist_ok=True)
                if not many and not up:
                    _read_once(store, bucket)
                self._warm_memory(self.small_bytes if many else self.large_bytes)
                os.sync()
                found[work] = self._timed(tool.command(work, local, bucket))
                if not up:
                    _check_same(source, local)
                    if not many:
                        local.unlink()
            store.delete_bucket(bucket, force=True)
        return found

    def _warm_memory(self, size: int) -> None:
        """On a virtual machine the page cache's first use of memory costs more than the copy; so whoever
        comes gets pages that were used just before."""
        scratch = self._directory / "scratch"
        with scratch.open("wb", buffering=0) as file:
            for _ in range(size // 2**20 + 1):
                file.write(_ZEROS)
        scratch.unlink()

    def _timed(self, command: list[str]) -> Timing:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        done = subprocess.run(
            command, env=self._environ, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        wall = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise click.ClickException(f"{' '.join(command)}:\n{done.stderr.decode()[-2000:]}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Timing(wall, cpu)


def _make_tree(root: Path, files: int) -> int:
    chance = random.Random(1)
    total = 0
    for number in range(files):
        directory = root / f"d{number // FILES_A_DIRECTORY:04}"
        directory.mkdir(parents=True, exist_ok=True)
        size = chance.randint(*SMALL_BYTES)
        (directory / f"f{number:06}.bin").write_bytes(chance.randbytes(size))
        total += size
    return total


def _read_once(store: ObjectStore, bucket: str) -> None:
    """So that the server has the large object in memory: the disk is not what is measured."""
    for entry in store.list_objects(bucket, "file"):
        with store.get_object(bucket, entry.key) as body:
            for _ in body:
                pass


def _check_same(source: Path, local: Path) -> None:
    names = [p.relative_to(source) for p in source.rglob("*.bin")] if source.is_dir() else [Path()]
    for name in names:
        if not filecmp.cmp(source / name, local / name, shallow=False):
            raise click.ClickException(f"{local / name} is not what went up")


# the libraries, each in a process of its own


def _pairs(work: str, local: Path, keys: Iterable[str]) -> list[tuple[Path, str]]:
    if not work.startswith("many"):
        return [(local, "file")]
    if work.endswith("up"):
        return [(p, f"data/{p.relative_to(local)}") for p in local.rglob("*") if p.is_file()]
    return [(local / key.removeprefix("data/"), key) for key in keys]


def _run_boto3(work: str, local: Path, bucket: str) -> None:
    import boto3
    from botocore.config import Config

    s3: Any = boto3.client("s3", config=Config(max_pool_connections=_THREADS))
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="data/")
    listed = (entry["Key"] for page in pages for entry in page.get("Contents", []))

    def one(pair: tuple[Path, str]) -> None:
        path, key = pair
        if work.endswith("up"):
            s3.upload_file(str(path), bucket, key)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, key, str(path))

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(one, _pairs(work, local, listed)))


def _run_obstore(work: str, local: Path, bucket: str) -> None:
    import obstore
    from obstore.store import S3Store

    endpoint = os.environ["AWS_ENDPOINT_URL"]
    store: Any = S3Store(
        bucket,
        endpoint=endpoint,
        region="us-east-1",
        client_options={"allow_http": True},
        virtual_hosted_style_request=False,
    )
    listed = (str(entry["path"]) for page in obstore.list(store, "data") for entry in page)

    def one(pair: tuple[Path, str]) -> None:
        path, key = pair
        if work.endswith("up"):
            obstore.put(store, key, path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for chunk in obstore.get(store, key).stream(min_chunk_size=2**20):
                file.write(chunk)

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(one, _pairs(work, local, listed)))


def _run_holdfast(work: str, local: Path, bucket: str) -> None:
    from holdfast import ObjectStore

    with ObjectStore.connect() as store:
        if work == "one up":
            store.put_object(bucket, "file", local)
        elif work == "one down":
            store.download(bucket, "file", local)
        else:
            listed = () if work == "many up" else store.list_objects(bucket, "data/")
            pairs = _pairs(work, local, (entry.key for entry in listed))
            if work == "many up":
                report = store.put_many(bucket, ((key, path) for path, key in pairs))
            else:
                report = store.get_many(bucket, ((key, _placed(path)) for path, key in pairs))
            _check_report(report.errors)


def _run_holdfast_async(work: str, local: Path, bucket: str) -> None:
    import asyncio

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_holdfast_async(work, local, bucket))


async def _holdfast_async(work: str, local: Path, bucket: str) -> None:
    from holdfast import ObjectStore

    async with ObjectStore.connect_async() as store:
        if work == "one up":
            await store.put_object(bucket, "file", local)
        elif work == "one down":
            await store.download(bucket, "file", local)
        else:
            keys = []
            if work == "many down":
                keys = [entry.key async for entry in store.list_objects(bucket, "data/")]
            pairs = _pairs(work, local, keys)
            if work == "many up":
                report = await store.put_many(bucket, ((key, path) for path, key in pairs))
            else:
                placed = ((key, _placed(path)) for path, key in pairs)
                report = await store.get_many(bucket, placed)
            _check_report(report.errors)


def _placed(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _check_report(errors: Sequence[object]) -> None:
    if errors:
        raise click.ClickException(f"{len(errors)} failed, such as {errors[0]}")


_LIBRARIES: dict[str, Callable[[str, Path, str], None]] = {
    "boto3": _run_boto3,
    "obstore": _run_obstore,
    "holdfast": _run_holdfast,
    "holdfast-async": _run_holdfast_async,
}


def _print(bench: Bench, results: dict[str, list[dict[str, Timing]]]) -> None:
    table = Table(title="seconds, median (processor seconds of the tool)")
    table.add_column("tool")
    for work in WORKS:
        table.add_column(work, justify="right")
    for name, rounds in results.items():
        cells = []
        for work in WORKS:
            wall = statistics.median([found[work].wall for found in rounds])
            cpu = statistics.median([found[work].cpu for found in rounds])
            size = bench.small_bytes if work.startswith("many") else bench.large_bytes
            cells.append(f"{wall:.2f} ({cpu:.2f})  {size / wall / 2**20:.0f} MiB/s")
        table.add_row(name, *cells)
    Console(width=140 if not sys.stdout.isatty() else None).print(table)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@click.command()
@click.option(
    "--endpoint", help="A running server with this bench's keys; otherwise one is started."
)
@click.option("--files", default=10_000, show_default=True, help="Small files, 4 to 64 KiB.")
@click.option("--large", default=1024, show_default=True, help="MiB of the large file.")
@click.option("--repeat", default=1, show_default=True)
@click.option("--tool", "names", multiple=True, help="Only this one. Repeatable.")
@click.option("--library", type=click.Choice(sorted(_LIBRARIES)), hidden=True)
@click.argument("rest", nargs=-1, metavar="")
def main(
    endpoint: str | None,
    files: int,
    large: int,
    repeat: int,
    names: tuple[str, ...],
    library: str | None,
    rest: tuple[str, ...],
) -> None:
    """Time whole transfers of many small files and of a large one, up and down, by several tools."""
    if library:
        work, local, bucket = rest
        _LIBRARIES[library](work, Path(local), bucket)
        return
    tools = [tool for tool in TOOLS if tool.is_there() and (not names or tool.name in names)]
    results: dict[str, list[dict[str, Timing]]] = {tool.name: [] for tool in tools}
    with tempfile.TemporaryDirectory(prefix="bench-transfers-") as name:
        directory = Path(name)
        server = None
        if endpoint is None:
            address = f"127.0.0.1:{_free_port()}"
            endpoint = f"http://{address}"
            os.environ |= {"HOLDFAST_ACCESS_KEY": ACCESS_KEY, "HOLDFAST_SECRET_KEY": SECRET_KEY}
            command = f"{sys.executable} -m holdfast serve {directory}/data --listen {address}"
            told = f"holdfast={endpoint},{ACCESS_KEY},{SECRET_KEY}"
            server = Server(parse_endpoint(told, "us-east-1", allow_remote=False), command)
        try:
            bench = Bench(endpoint, directory, files, large * 2**20)
            bench.warm_up()
            for number in range(repeat):
                turned = tools[number % len(tools) :] + tools[: number % len(tools)]
                for tool in turned:
                    found = bench.measure(tool, number * len(tools) + tools.index(tool))
                    results[tool.name].append(found)
                    text = ", ".join(f"{w} {t.wall:.2f} s" for w, t in found.items())
                    click.echo(f"{tool.name}: {text}", err=True)
            _print(bench, results)
        finally:
            if server is not None:
                server.stop()


if __name__ == "__main__":
    main()
