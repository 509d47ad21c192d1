"""The reference documents tell what the code does."""

from __future__ import annotations

from pathlib import Path

from holdfast.s3 import reference

DOCS = Path(__file__).resolve().parents[2] / "docs"
HINT = "run python -m holdfast.s3.reference"


def test_operations_document() -> None:
    assert (DOCS / reference.OPERATIONS_FILE).read_text() == reference.operations(), HINT


def test_errors_document() -> None:
    assert (DOCS / reference.ERRORS_FILE).read_text() == reference.errors(), HINT
