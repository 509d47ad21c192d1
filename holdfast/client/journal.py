"""Where an upload that may be resumed is written down: one small file each, named by what it is for.

Rule: a journal belongs to one endpoint, bucket, key, local file (its size and time of change, too)
and set of headers; anything else begins anew. It is replaced as a whole, so that a kill at any moment
leaves the old or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

JOURNAL_BYTES_MAX = 64 * 1024


def default_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast" / "uploads"


class Journal:
    def __init__(self, directory: Path, identity: Mapping[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)
        self._path = directory / f"{hashlib.sha256(text.encode()).hexdigest()}.json"

    def read(self) -> dict[str, Any]:
        """{} where there is none, or none that can be read."""
        try:
            with self._path.open("rb") as file:
                state = json.loads(file.read(JOURNAL_BYTES_MAX))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def write(self, state: Mapping[str, Any]) -> None:
        """Raises OSError."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(state))
        fresh.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
