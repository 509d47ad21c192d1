"""What came of an import: lines while it runs, and the account at its end.

Rule: what was not brought over is said with its reason, always, on standard output; what failed is also
a line on standard error when it happens.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.cli.importing.history import Version
from holdfast.cli.objects.output import Output, count, human, printable

#: failures kept for the report; all of them were lines before
FAILURES_SHOWN_MAX = 20


@dataclass(slots=True)
class Tally:
    """Of one bucket."""

    bucket: str
    versions: int = 0
    markers: int = 0
    bytes: int = 0
    same: int = 0
    left_out: int = 0
    failed: int = 0
    #: configuration that is there
    documents: list[str] = field(default_factory=list)
    #: (what, why) of configuration that is not
    refused: list[tuple[str, str]] = field(default_factory=list)
    #: how versions differ from the source's, with their number
    notes: Counter[str] = field(default_factory=Counter)
    #: why the bucket as a whole was not, or not wholly, brought over
    problem: str = ""

    def fields(self) -> dict[str, Any]:
        return {
            "action": "import",
            "type": "bucket",
            "bucket": self.bucket,
            "versions": self.versions,
            "delete_markers": self.markers,
            "bytes": self.bytes,
            "same": self.same,
            "left_out": self.left_out,
            "failed": self.failed,
            "configuration": self.documents,
            "not_brought": [{"what": what, "why": why} for what, why in self.refused],
            "notes": dict(self.notes),
            "error": self.problem,
        }


class Report:
    def __init__(self, output: Output, *, verbose: bool, dry_run: bool) -> None:
        self.output = output
        self.tallies: list[Tally] = []
        self._verbose = verbose
        self._dry_run = dry_run
        self._began = time.monotonic()
        self.is_stopped = False

    def begin(self, bucket: str) -> Tally:
        tally = Tally(bucket)
        self.tallies.append(tally)
        return tally

    def version(
        self, tally: Tally, key: str, version: Version, *, target_id: str = "", error: str = ""
    ) -> None:
        status = "failed" if error else "planned" if self._dry_run else "done"
        if not error:
            if version.is_marker:
                tally.markers += 1
            else:
                tally.versions += 1
                tally.bytes += version.size
        if not (self.output.json or (self._verbose and not error)):
            return
        fields: dict[str, Any] = {
            "action": "import",
            "type": "delete-marker" if version.is_marker else "version",
            "bucket": tally.bucket,
            "key": key,
            "source_version": version.version_id,
            "target_version": target_id,
            "size": version.size,
            "etag": version.etag,
            "status": status,
        }
        if error:
            fields["error"] = error
        word = "would import" if self._dry_run else "import"
        kind = " (delete marker)" if version.is_marker else ""
        text = f"{word}: s3://{tally.bucket}/{key} {version.version_id}{kind}"
        self.output.record(fields, printable(text))

    def bucket(self, tally: Tally) -> None:
        """The bucket is through."""
        if self.output.json:
            self.output.record(tally.fields(), "")
            return
        verb = "would bring" if self._dry_run else "brought"
        parts = [count(tally.versions, "version")]
        if tally.markers:
            parts.append(count(tally.markers, "delete marker"))
        text = f"{tally.bucket}: {verb} {', '.join(parts)}, {human(tally.bytes)}"
        if tally.same:
            text += f"; {tally.same:,} were there"
        if tally.documents:
            text += f"; {', '.join(tally.documents)}"
        if tally.failed:
            text += f"; {tally.failed:,} FAILED"
        if tally.problem:
            text += f"; FAILED: {tally.problem}"
        self.output.record({}, printable(text))

    def end(self, state: Path | None) -> None:
        """The account of all."""
        if self.output.json:
            return
        seconds = time.monotonic() - self._began
        versions = sum(tally.versions for tally in self.tallies)
        markers = sum(tally.markers for tally in self.tallies)
        size = sum(tally.bytes for tally in self.tallies)
        rate = f", {human(size / seconds)}/s" if size and seconds > 0 and not self._dry_run else ""
        self._line(
            f"in all: {count(len(self.tallies), 'bucket')}, {count(versions, 'version')}, "
            f"{count(markers, 'delete marker')}, {human(size)} in {seconds:.1f} s{rate}"
        )
        missing = [
            f"  {tally.bucket}: {what}: {why}"
            for tally in self.tallies
            for what, why in tally.refused
        ]
        missing += [
            f"  {tally.bucket}: {number:,} left out, as they could not be read"
            for tally in self.tallies
            if (number := tally.left_out)
        ]
        if missing:
            self._line("not brought over:")
            for line in missing:
                self._line(line)
        notes = [
            f"  {tally.bucket}: {number:,} {note}"
            for tally in self.tallies
            for note, number in sorted(tally.notes.items())
        ]
        if notes:
            self._line("brought over, but:")
            for line in notes:
                self._line(line)
        if versions + markers and state is not None and not self._dry_run:
            self._line(
                f"version ids and times are the destination's own; which became which: {state}"
            )

    def _line(self, text: str) -> None:
        self.output.record({}, printable(text))

    @property
    def failed(self) -> int:
        """Versions, and buckets that failed as a whole."""
        return sum(tally.failed + bool(tally.problem) for tally in self.tallies)

    @property
    def is_partial(self) -> bool:
        return any(tally.refused or tally.left_out for tally in self.tallies)
