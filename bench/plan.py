"""What can be measured, by name, and the sets of it that `--suite` stands for.

A name is OP-SIZE[-VARIANT][@CONNECTIONS], such as put-4k, get-4k-presigned, list-flat-100k@1. Objects
of STREAM_BYTES_MIN and more go whole, each over a connection of its own (MiB/s); smaller ones come
from many connections for a time (requests/s).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

STREAM_BYTES_MIN = 64 * 1024**2
STREAM_BYTES_MAX = 4 * 1024**3
CONNECTIONS_MAX = 4096
STREAMS_MAX = 64
KEYS_MAX = 10_000_000
PART_BYTES = 8 * 1024**2  # as the SDKs cut
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_THOUSANDS = {"": 1, "k": 1000, "m": 1000**2}

LISTINGS = ("flat", "delimiter", "deep", "versions")
#: by what is done, the ways in which it can be done besides the plain one
VARIANTS: dict[str, tuple[str, ...]] = {
    "put": ("presigned", "unsigned", "trailer", "chunked"),
    "get": ("presigned", "cold"),
    "head": ("presigned",),
    "range": ("presigned", "cold"),
    "delete": (),
    "mixed": (),
    "multipart": (),
}
FORMS = """\
put-SIZE     PUT. -presigned: by URL. -unsigned: UNSIGNED-PAYLOAD. As the SDKs stream, with a CRC32
             in the trailer: -trailer (body unsigned), -chunked (every 128 KiB signed)
get-SIZE     GET of whole objects. -presigned: by URL. -cold: nothing of them in the page cache
range-SIZE   GET of 64 KiB (of a half, if that is less) somewhere in objects of SIZE
head-SIZE    HEAD. -presigned: by URL
delete-SIZE  DELETE of objects put there just before
mixed-SIZE   of 20 requests 14 GET, 4 PUT of new keys, 1 HEAD, 1 DELETE
multipart-SIZE  one upload in parts of 8 MiB, Create to Complete, @N parts in flight
list-flat-N, list-delimiter-N, list-deep-N, list-versions-N
             pages of a bucket of N keys (1k, 100k, 1m): 1,000 keys anywhere in it; the prefixes at
             its root; a folder of 100 keys, six levels down; 1,000 versions, five of each key"""

_SUITES = {
    "quick": "put-4k@1 put-4k@32 get-4k@1 get-4k@32 head-4k@32 delete-4k@32 mixed-4k@32 "
    "put-1m@8 get-1m@8 list-flat-1k@1 put-128m@1 get-128m@1 multipart-64m@4",
    "full": "put-1@32 put-4k@1 put-4k@8 put-4k@32 put-4k@128 put-4k@1000 put-4k-presigned@32 "
    "put-4k-trailer@32 put-4k-chunked@32 put-64k@32 put-64k-trailer@32 put-1m@32 put-1m-trailer@8 "
    "put-16m@8 put-1g@1 put-1g@8 multipart-1g@8 "
    "get-1@32 get-4k@1 get-4k@8 get-4k@32 get-4k@128 get-4k@1000 get-4k-presigned@32 "
    "get-4k-cold@8 get-64k@32 get-64k-cold@8 get-1m@32 get-1m-cold@8 get-16m@8 get-1g@1 get-1g@8 "
    "range-1m@32 range-16m@8 head-4k@1 head-4k@32 delete-4k@1 delete-4k@32 delete-64k@32 "
    "mixed-4k@32 mixed-4k@128 mixed-64k@128 "
    "list-flat-1k@1 list-flat-100k@1 list-flat-1m@1 list-delimiter-1k@1 list-delimiter-100k@1 "
    "list-delimiter-1m@1 list-deep-1k@1 list-deep-100k@1 list-deep-1m@1 list-versions-1k@1 "
    "list-versions-100k@1 list-versions-1m@1 list-flat-100k@8",
}
SUITES = {name: tuple(text.split()) for name, text in _SUITES.items()}


@dataclass(frozen=True)
class Workload:
    """One row of the plan. size: an object's bytes, or the bucket's keys for `list`."""

    op: str
    size: int
    label: str
    connections: int
    variant: str = ""

    @property
    def is_stream(self) -> bool:
        """Whether few large bodies are moved: MiB/s, not requests/s."""
        return self.op == "multipart" or (
            self.op in ("put", "get") and self.size >= STREAM_BYTES_MIN
        )

    @property
    def stores(self) -> bool:
        """Whether all that it sends is content to be stored."""
        return self.op in ("put", "multipart")

    @property
    def title(self) -> str:
        return f"{self.label}, {self.connections} connection{'s' if self.connections > 1 else ''}"


def parse_workload(text: str, connections: list[int]) -> list[Workload]:
    """The rows that a name stands for: one for each of `connections` where it tells none.

    Raises ValueError with the forms that there are.
    """
    name, at, count = text.strip().lower().partition("@")
    if at:
        if not count.isdigit() or not 1 <= int(count) <= CONNECTIONS_MAX:
            raise ValueError(f"{text!r}: want 1 to {CONNECTIONS_MAX} connections behind the @")
        connections = [int(count)]
    op, size, variant = _parse_listing(name) or _parse_objects(name)
    rows = [Workload(op, size, name, number, variant) for number in connections]
    if at and rows[0].is_stream and rows[0].connections > STREAMS_MAX:
        raise ValueError(f"{text!r}: at most {STREAMS_MAX} large objects at once")
    if not at and rows[0].is_stream:
        # the many clients that --connections names are for small objects
        rows = [Workload(op, size, name, 8 if op == "multipart" else 1, variant)]
    return rows


def _parse_listing(name: str) -> tuple[str, int, str] | None:
    if not name.startswith("list-"):
        return None
    found = re.fullmatch(rf"list-({'|'.join(LISTINGS)})-(\d+)([km]?)", name)
    keys = int(found[2]) * _THOUSANDS[found[3]] if found else 0
    if not found or keys % 100 or not 100 <= keys <= KEYS_MAX:
        raise ValueError(
            f"unknown workload {name!r}: want list-KIND-KEYS with KIND one of {', '.join(LISTINGS)} "
            f"and hundreds of KEYS up to 10m, such as list-flat-100k"
        )
    return "list", keys, found[1]


def _parse_objects(name: str) -> tuple[str, int, str]:
    found = re.fullmatch(rf"({'|'.join(VARIANTS)})-(\d+)([kmg]?)(?:-(\w+))?", name)
    if not found:
        raise ValueError(f"unknown workload {name!r}; there are:\n{FORMS}")
    op, size, variant = found[1], int(found[2]) * _UNITS[found[3]], found[4] or ""
    if variant and variant not in VARIANTS[op]:
        known = ", ".join(VARIANTS[op]) or "none"
        raise ValueError(f"{name}: the variants of {op} are: {known}")
    if not 1 <= size <= STREAM_BYTES_MAX:
        raise ValueError(f"{name}: objects have 1 byte to 4g")
    if op == "multipart" and size < PART_BYTES:
        raise ValueError(f"{name}: multipart uploads have 8m to 4g")
    if op not in ("put", "get", "multipart") and size >= STREAM_BYTES_MIN:
        raise ValueError(f"{name}: {op} is measured with objects below 64m")
    if variant not in ("", "unsigned") and size >= STREAM_BYTES_MIN:
        raise ValueError(f"{name}: {variant} is measured with objects below 64m")
    if op == "range" and size < 2:
        raise ValueError(f"{name}: half of it is nothing")
    return op, size, variant
