"""Names that tests give, checked at once: a name that nothing has would match nothing, in silence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from holdfast.s3 import catalogue, ops
from holdfast.s3.errors import ERRORS
from holdfast.s3.operation import OPERATIONS

#: importing them is what declares the operations
DECLARED_BY = (catalogue, ops)


def check_operation(name: str | None) -> None:
    """None is any. Raises ValueError when S3 has no operation of that name."""
    if name is not None and name not in OPERATIONS:
        raise ValueError(f"S3 has no operation {name!r}{_nearest(name, OPERATIONS)}")


def status_of(code: str, status: int | None) -> int:
    """The HTTP status of an S3 error code. Raises ValueError for one that is not known here."""
    if status is not None:
        return status
    if code not in ERRORS:
        raise ValueError(
            f"the status of {code!r} is not known here: give status=…{_nearest(code, ERRORS)}"
        )
    return ERRORS[code].status


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
