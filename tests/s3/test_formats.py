"""Dates and version ids are written by tables: they are what the slow way makes of them."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.s3.dates import iso_date, iso_moment
from holdfast.s3.names import encode_version_id, version_seq

SEQS = st.integers(1, (1 << 63) - 1)


@given(st.integers(0, 253_402_300_799_999))
@example(951_782_400_000)  # 2000-02-29
def test_dates(ms: int) -> None:
    second = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S").zfill(19)
    assert iso_date(ms) == f"{second}.000Z"
    assert iso_moment(ms) == f"{second}.{ms % 1000:03}Z"


@given(SEQS, SEQS)
def test_version_ids_come_back_and_sort_by_time(seq: int, other: int) -> None:
    assert version_seq(encode_version_id(seq, False)) == seq
    assert (encode_version_id(seq, False) < encode_version_id(other, False)) == (seq < other)
    assert encode_version_id(seq, True) == "null"
