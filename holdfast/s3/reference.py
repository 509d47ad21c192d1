"""The reference documents, out of the declarations: operations and errors.

`python -m holdfast.s3.reference` writes them into docs/; a test holds them equal to the code.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from holdfast.s3.catalogue import ALIASES
from holdfast.s3.errors import ERRORS
from holdfast.s3.operation import OPERATIONS, Operation
from holdfast.s3.routing import make_router

OPERATIONS_FILE = "s3-compatibility.md"
ERRORS_FILE = "errors.md"

_TARGETS = {"service": "/", "bucket": "/{bucket}", "object": "/{bucket}/{key}"}


def _request(op: Operation) -> str:
    query = "?" + "&".join(op.query) if op.query else ""
    header = f" with `{op.header}`" if op.header else ""
    return f"`{op.method} {_TARGETS[op.level.value]}{query}`{header}"


def _deviation(op: Operation) -> str:
    doc = inspect.getdoc(op.handler) or ""
    _, found, text = doc.partition("Deviation: ")
    return " ".join(text.split()) if found else ""


def operations() -> str:
    """docs/s3-compatibility.md"""
    make_router()
    rows = []
    for name in sorted({*OPERATIONS, *ALIASES}):
        op = OPERATIONS[ALIASES.get(name, name)]
        if op.handler is None:
            rows.append(f"| {name} | {_request(op)} | 501 | |")
        else:
            rows.append(f"| {name} | {_request(op)} | yes | {_deviation(op)} |")
    done = sum(op.handler is not None for op in OPERATIONS.values())
    return "\n".join(
        (
            "# S3 operations",
            "",
            "Generated from the declarations in the code. An operation that answers 501 is known,",
            "refused with `NotImplemented`, and changes nothing; so is every header and",
            "sub-resource of S3 that an operation does not take yet.",
            "",
            f"{done} operations are here.",
            "",
            "| operation | request | here | deviations |",
            "|---|---|---|---|",
            *rows,
            "",
        )
    )


def errors() -> str:
    """docs/errors.md"""
    rows = [f"| `{code}` | {kind.status} | {kind.message} |" for code, kind in ERRORS.items()]
    return "\n".join(
        (
            "# Errors",
            "",
            "Generated from the code. Codes, statuses and messages are S3's; `InsufficientStorage`",
            "(the disk is full: writes are refused, reads, listings and deletes go on) is our own,",
            "because S3 has none for it.",
            "",
            "| code | status | message |",
            "|---|---|---|",
            *rows,
            "",
        )
    )


def write(docs: Path) -> None:
    """Write both documents into `docs`."""
    (docs / OPERATIONS_FILE).write_text(operations())
    (docs / ERRORS_FILE).write_text(errors())


if __name__ == "__main__":
    write(Path(__file__).resolve().parents[2] / "docs")
