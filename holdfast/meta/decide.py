"""The rules of the metadata, once: what every command does, in plain Python without a database.

`decide` is pure: it looks at the state, and answers a result and the effects that make it so. A
`Refused` result never has effects. It raises ValueError (and only that) for a command that no
caller may send. `reads` names the rows that a decision looks at; further rows that follow from
those (an upload's key, a version behind another) belong to them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.meta.commands import (
    AbortUpload,
    ChangeVersion,
    Command,
    CompleteUpload,
    CreateBucket,
    CreateUpload,
    DeleteBucket,
    DeleteObject,
    EnableObjectLock,
    ForgetBlobs,
    ForgetDirectories,
    NewParts,
    PutDocument,
    PutObject,
    PutPart,
    ReapParts,
    Refused,
    RenameObject,
    Result,
    SetVersioning,
    SharedContent,
    SharedParts,
    StoredContent,
)
from holdfast.meta.decide_attributes import change_version
from holdfast.meta.decide_buckets import (
    create_bucket,
    delete_bucket,
    enable_object_lock,
    forget_blobs,
    forget_directories,
    put_document,
    set_versioning,
)
from holdfast.meta.decide_objects import delete_object, put_object, rename_object
from holdfast.meta.decide_uploads import (
    abort_upload,
    complete_upload,
    create_upload,
    put_part,
    reap_parts,
)
from holdfast.meta.effects import Effect
from holdfast.meta.state import Clock, Read, Refusal, State

_DECISIONS: dict[type, Callable[[Any, State, Clock, list[Effect]], Result]] = {
    CreateBucket: create_bucket,
    DeleteBucket: delete_bucket,
    SetVersioning: set_versioning,
    EnableObjectLock: enable_object_lock,
    PutObject: put_object,
    DeleteObject: delete_object,
    ChangeVersion: change_version,
    RenameObject: rename_object,
    CreateUpload: create_upload,
    PutPart: put_part,
    CompleteUpload: complete_upload,
    AbortUpload: abort_upload,
    PutDocument: put_document,
    ForgetBlobs: forget_blobs,
    ReapParts: reap_parts,
    ForgetDirectories: forget_directories,
}

#: commands that make room, or need none: they go on when the disk is full
_FREEING = (
    DeleteBucket,
    DeleteObject,
    AbortUpload,
    ForgetBlobs,
    ReapParts,
    ForgetDirectories,
)


def decide(command: Command, state: State, clock: Clock) -> tuple[Result, list[Effect]]:
    """What `command` does to `state` at the time of `clock`."""
    effects: list[Effect] = []
    try:
        return _DECISIONS[type(command)](command, state, clock, effects), effects
    except Refusal as refusal:
        return Refused(refusal.code), []


def needs_room(command: Command) -> bool:
    """Whether it is refused (`DiskFull`) while the disk is full."""
    if isinstance(command, PutDocument):
        return command.body is not None
    return not isinstance(command, _FREEING)


def reads(command: Command) -> tuple[Read, ...]:
    """The rows that the decision on `command` looks at. `versions` stands for all rows of a key,
    `list` for a list of parts with its parts."""
    if isinstance(command, CreateBucket):
        return (
            Read("bucket_named", (command.name,)),
            Read("buckets_owned", (command.owner,)),
            Read("next_bucket_id", ()),
        )
    if isinstance(command, PutObject):
        content = _content_reads(command.bucket_id, command.content)
        return _key_reads(command.bucket_id, command.key) + content
    if isinstance(command, DeleteObject | ChangeVersion):
        return _key_reads(command.bucket_id, command.key)
    if isinstance(command, RenameObject):
        source = Read("versions", (command.bucket_id, command.source))
        return (*_key_reads(command.bucket_id, command.key), source)
    if isinstance(command, PutPart):
        return (
            Read("upload", (command.bucket_id, command.upload_id)),
            Read("part", (command.upload_id, command.number)),
            *_content_reads(command.bucket_id, command.content),
        )
    if isinstance(command, CompleteUpload | AbortUpload):
        return (
            Read("bucket", (command.bucket_id,)),
            Read("upload", (command.bucket_id, command.upload_id)),
            Read("list", (command.upload_id,)),
        )
    if isinstance(command, DeleteBucket):
        return (
            Read("bucket", (command.bucket_id,)),
            Read("bucket_is_empty", (command.bucket_id,)),
        )
    if isinstance(command, ForgetBlobs):
        return tuple(Read("blob_is_going", (blob_id,)) for blob_id in command.blob_ids)
    if isinstance(command, ForgetDirectories):
        return tuple(Read("deleted_bucket", (name,)) for name in command.directories)
    if isinstance(command, ReapParts):
        return (Read("going_part_list", ()),)
    return (Read("bucket", (command.bucket_id,)),)


def _key_reads(bucket_id: int, key: bytes) -> tuple[Read, ...]:
    return (Read("bucket", (bucket_id,)), Read("versions", (bucket_id, key)))


def _content_reads(bucket_id: int, content: object) -> tuple[Read, ...]:
    if isinstance(content, StoredContent):
        return (Read("live_blob", (bucket_id, content.sha256)),)
    if isinstance(content, SharedContent):
        return (Read("live_blob_by_id", (bucket_id, content.blob_id)),)
    if isinstance(content, SharedParts):
        return (Read("list", (content.parts_id,)),)
    if isinstance(content, NewParts):
        stored = (part.content for part in content.parts)
        return tuple(read for one in stored for read in _content_reads(bucket_id, one))
    return ()
