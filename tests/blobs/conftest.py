"""The store that the tests of segments look into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blobs.watched import Watched


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path / "data")
    yield made
    made.before = lambda kind: None
    assert made.store.buffers_in_use == 0
    made.store.close()
