"""Hide what only Linux, or only an extension, has: uvloop, fork, sendfile, O_DIRECT and holes.

`python -m pytest -p tests.portable tests/s3 …` runs any tests as another platform would:
asyncio's own loop, everything in one process, content in files only, sent in pieces and written
through the cache.
"""

from __future__ import annotations

import os
import sys

HIDDEN = (
    "fork",
    "sendfile",
    "O_DIRECT",
    "posix_fadvise",
    "copy_file_range",
    "pwritev",
    "SEEK_DATA",
)

sys.modules["uvloop"] = None  # type: ignore[assignment]  # importing it raises ImportError
for _name in HIDDEN:
    if hasattr(os, _name):
        delattr(os, _name)
