"""The short run of `python -m tests.cli.resume`: commands and servers killed in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.resume import MIB, Scene, sync_over_a_kill, upload_and_download


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, ("--durability", "relaxed")) as made:
        yield made


def test_a_killed_command_goes_on(scene: Scene) -> None:
    up, down = upload_and_download(scene, 192 * MIB + 1)
    for transfer in (up, down):
        assert transfer.before_the_kill >= transfer.parts // 2
        assert transfer.twice <= 1  # a download's first request asks for all, and learns the size


def test_a_sync_goes_on_when_the_server_comes_back(scene: Scene) -> None:
    synced = sync_over_a_kill(scene, 1500, 8 * 1024)
    assert synced.again == 0
    assert synced.puts < 2 * synced.files
