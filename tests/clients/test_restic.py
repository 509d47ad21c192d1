"""restic keeps backups here: init, backup, check with all data, forget and prune, restore."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ..serving import ServeProcess
from .conftest import assert_same_trees, program, run
from .settings import environment
from .test_trees import link_part

FILES = 2000


def test_restic(
    holdfast: ServeProcess, scratch: Path, tree: Path, some: Callable[[int], Iterator[Path]]
) -> None:
    env = environment("restic", holdfast.endpoint)
    restic = (program("restic"), "--cache-dir", str(scratch / "cache"))
    part = scratch / "part"
    link_part(some(FILES), tree, part)
    run(*restic, "init", env=env)
    run(*restic, "backup", ".", env=env, cwd=part)
    run(*restic, "check", "--read-data", env=env)
    (part / "new").write_text("new")
    (part / "odd names" / "empty").unlink()
    run(*restic, "backup", ".", env=env, cwd=part)
    run(*restic, "forget", "--keep-last", "1", "--prune", env=env)
    run(*restic, "check", "--read-data", env=env)
    run(*restic, "restore", "latest", "--target", str(scratch / "back"), env=env)
    assert assert_same_trees(part, scratch / "back") >= FILES
