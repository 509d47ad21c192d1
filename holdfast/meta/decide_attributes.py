"""What may change of a version that exists, and what object lock forbids.

Follows S3's object lock: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
- A legal hold, until it is taken off, and a retention, until its date, keep a version from being
  deleted; a delete marker on top of it is no deletion.
- COMPLIANCE can only be prolonged, by nobody shortened, removed or changed to GOVERNANCE.
- GOVERNANCE can be prolonged; anything else, a deletion too, needs `bypass_governance`.
- A retention whose date has passed forbids nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.meta.commands import ChangeVersion, DeleteObject, Retention, VersionChanged
from holdfast.meta.effects import ChangeAttributes, Effect
from holdfast.meta.records import Bucket, ObjectVersion
from holdfast.meta.state import Clock, Refusal, State, VersionState

NULL_VERSION = -1
CURRENT_VERSION = 0
MODES = ("", "GOVERNANCE", "COMPLIANCE")


def check_lock(
    command: DeleteObject, bucket: Bucket, found: VersionState, state: State, clock: Clock
) -> None:
    """Raises Refusal AccessDenied when object lock keeps the version `found` from deletion."""
    if not bucket.object_lock or found.delete_marker:
        return
    version = state.version(bucket.id, command.key, found.seq)
    assert version is not None, "found a moment ago"
    if version.legal_hold:
        raise Refusal("AccessDenied")
    if _is_retained(version, clock) and not (
        version.lock_mode == "GOVERNANCE" and command.bypass_governance
    ):
        raise Refusal("AccessDenied")


def change_version(
    command: ChangeVersion, state: State, clock: Clock, effects: list[Effect]
) -> VersionChanged:
    wanted = command.retention
    if wanted is not None and not _is_whole(wanted):
        raise ValueError("a retention has a known mode and a date, or neither")
    bucket = state.bucket(command.bucket_id)
    if bucket is None:
        raise Refusal("NoSuchBucket")
    current = state.current(bucket.id, command.key)
    found = _find(command, current, state)
    if found is None:
        raise Refusal("NoSuchKey" if command.seq == CURRENT_VERSION else "NoSuchVersion")
    if found.delete_marker:
        raise Refusal("MethodNotAllowed")
    locks = wanted is not None or command.legal_hold is not None
    if locks and not bucket.object_lock:
        raise Refusal("InvalidRequest")
    version = state.version(bucket.id, command.key, found.seq)
    assert version is not None, "found a moment ago"
    changed = _changed(command, version, clock)
    effects.append(ChangeAttributes(changed, current is not None and current.seq == found.seq))
    return VersionChanged(found.seq, found.is_null)


def _find(
    command: ChangeVersion, current: VersionState | None, state: State
) -> VersionState | None:
    if command.seq == CURRENT_VERSION:
        newest = state.others(command.bucket_id, command.key, 1) if current is None else []
        return newest[0] if newest else current
    if command.seq == NULL_VERSION:
        if current is not None and current.is_null:
            return current
        return state.other_null(command.bucket_id, command.key)
    if current is not None and current.seq == command.seq:
        return current
    return state.other(command.bucket_id, command.key, command.seq)


def _changed(command: ChangeVersion, version: ObjectVersion, clock: Clock) -> ObjectVersion:
    """A copy of `version` as the command wants it. Raises Refusal AccessDenied."""
    changed: dict[str, Any] = {}
    if command.tags is not None:
        changed["tags"] = command.tags
    if command.acl is not None:
        changed["acl"] = command.acl
    if command.legal_hold is not None:
        changed["legal_hold"] = command.legal_hold
    wanted = command.retention
    if wanted is not None:
        if not _may_become(version, wanted, clock, bypass=command.bypass_governance):
            raise Refusal("AccessDenied")
        changed.update(lock_mode=wanted.mode, retain_until_ms=wanted.until_ms)
    return msgspec.structs.replace(version, **changed)


def _is_whole(retention: Retention) -> bool:
    return retention.mode in MODES and bool(retention.mode) == (retention.until_ms > 0)


def _may_become(version: ObjectVersion, wanted: Retention, clock: Clock, *, bypass: bool) -> bool:
    if not _is_retained(version, clock):
        return True
    if version.lock_mode == wanted.mode and wanted.until_ms >= version.retain_until_ms:
        return True
    return version.lock_mode == "GOVERNANCE" and bypass


def _is_retained(version: ObjectVersion, clock: Clock) -> bool:
    return version.lock_mode != "" and version.retain_until_ms > clock.now_ms
