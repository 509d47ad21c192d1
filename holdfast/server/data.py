"""The DATA directory: its lock, its format, its root keys.

Rule: whoever touches DATA holds the lock, and the lock lasts until the last process that inherited
it is gone. What is written here is synced, the directory entry included, before it counts.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import stat
import string
import time
from pathlib import Path
from typing import NamedTuple

from holdfast.auth.identity import Credential
from holdfast.config import Settings

FORMAT_VERSION = 1
LOCK_FILE = "lock"
FORMAT_FILE = "format.json"
KEYS_FILE = "keys.json"
#: what may be in a directory that is not yet DATA
BYSTANDERS = frozenset({LOCK_FILE, KEYS_FILE, "holdfast.toml", "lost+found"})
SMALL_FILE_BYTES_MAX = 1 << 16
#: how long the children of a killed supervisor may take to let go of the lock
LOCK_WAIT_SECONDS = 5.0
LOCK_POLL_SECONDS = 0.05
ACCESS_KEY_ALPHABET = string.ascii_uppercase + "234567"


class DataError(Exception):
    """DATA can't be used; the message says why and what to do."""


class DataLocked(DataError):
    """Another server (or fsck) works on this DATA."""


class RootKeys(NamedTuple):
    access_key: str
    secret_key: str
    #: made just now: to be shown, this once
    generated: bool


class DataDirectory:
    """An opened and locked DATA directory."""

    __slots__ = ("lock_fd", "path", "store_id")

    def __init__(self, path: Path, lock_fd: int, store_id: str) -> None:
        self.path = path
        #: inherited by the children, never unlocked: it ends with the last of them
        self.lock_fd = lock_fd
        self.store_id = store_id

    @classmethod
    def open(cls, path: str, create: bool = True) -> DataDirectory:
        """Lock DATA and read its format; make it when `create`. Raises DataError."""
        root = Path(path).absolute()
        try:
            if create:
                _make_directory(root)
            elif not (root / FORMAT_FILE).is_file():
                raise DataError(
                    f"{root} holds no Holdfast data; name the directory that `holdfast serve` uses"
                )
            lock_fd = _lock(root)
        except OSError as error:
            raise DataError(f"{root} can't be used: {error.strerror}") from None
        try:
            return cls(root, lock_fd, _read_or_make_format(root, create))
        except OSError as error:
            os.close(lock_fd)
            raise DataError(f"{root} can't be used: {error.strerror}") from None
        except BaseException:
            os.close(lock_fd)
            raise

    def close(self) -> None:
        os.close(self.lock_fd)

    def root_keys(self, settings: Settings) -> RootKeys:
        """The keys that are set, else those kept in DATA, else new ones, kept with mode 0600."""
        if settings.access_key:
            return RootKeys(settings.access_key, settings.secret_key, False)
        path = self.path / KEYS_FILE
        if path.exists():
            return _read_keys(path)
        access_key = "AKIA" + "".join(secrets.choice(ACCESS_KEY_ALPHABET) for _ in range(16))
        keys = RootKeys(access_key, secrets.token_urlsafe(30), True)
        document = {"access_key": keys.access_key, "secret_key": keys.secret_key}
        write_durably(path, json.dumps(document, indent=1).encode() + b"\n")
        return keys

    def root_credential(self, keys: RootKeys) -> Credential:
        """The root account. Its id comes from the store's, so it outlives a change of keys."""
        return Credential(
            keys.access_key, keys.secret_key, root_account_id(self.store_id), "root", True
        )


def root_account_id(store_id: str) -> str:
    return hashlib.sha256(b"holdfast root " + store_id.encode()).hexdigest()


def read_store_id(root: Path) -> str:
    """Of a DATA directory that somebody else has locked. Raises DataError."""
    return _read_or_make_format(root, create=False)


def kept_access_key(root: Path) -> str:
    """The root access key kept in DATA, "" for none. Raises DataError."""
    path = root / KEYS_FILE
    return _read_keys(path).access_key if path.exists() else ""


def write_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace the file whole: after a crash it has the old content or the new, nothing between."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        try:
            os.write(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_directory(path: Path) -> None:
    """Make it and its missing ancestors, each synced in its parent."""
    if path.is_dir():
        return
    _make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_directory(path.parent)


def _lock(root: Path) -> int:
    """Take the lock, waiting only for the children of a holder that is itself gone."""
    fd = os.open(root / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            if _alive(holder) or time.monotonic() > deadline:
                os.close(fd)
                raise DataLocked(
                    f"{root} is in use by process {holder or 'unknown'}; "
                    "stop that server first, or name another directory"
                ) from None
            time.sleep(LOCK_POLL_SECONDS)
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    return fd


def _alive(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read_or_make_format(root: Path, create: bool) -> str:
    path = root / FORMAT_FILE
    document = _read_json(path)
    if document is None:
        foreign = sorted(set(os.listdir(root)) - BYSTANDERS)
        foreign = [name for name in foreign if not name.startswith(f".{FORMAT_FILE}.")]
        if foreign or not create:
            raise DataError(
                f"{root} is not empty (it holds {foreign[0] if foreign else 'nothing'}) and has no "
                f"{FORMAT_FILE}: it is not Holdfast's; name an empty or a new directory"
            )
        document = {"format": FORMAT_VERSION, "store_id": secrets.token_hex(16)}
        write_durably(path, json.dumps(document).encode() + b"\n")
    if document.get("format") != FORMAT_VERSION:
        raise DataError(
            f"{path} has format {document.get('format')!r}, this Holdfast reads {FORMAT_VERSION}; "
            "use the version of Holdfast that wrote it, or a newer one"
        )
    store_id = document.get("store_id")
    if not isinstance(store_id, str) or not store_id:
        raise DataError(f"{path} has no store_id; restore the file from a copy")
    return store_id


def _read_json(path: Path) -> dict[str, object] | None:
    try:
        with path.open("rb") as file:
            raw = file.read(SMALL_FILE_BYTES_MAX)
    except FileNotFoundError:
        return None
    try:
        document = json.loads(raw)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise DataError(f"{path} is damaged; restore it from a copy")
    return document


def _read_keys(path: Path) -> RootKeys:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise DataError(
            f"{path} can be read by others (mode {mode:o}); chmod 600 it, change the keys"
        )
    document = _read_json(path) or {}
    access_key, secret_key = document.get("access_key"), document.get("secret_key")
    if not isinstance(access_key, str) or not isinstance(secret_key, str):
        raise DataError(f"{path} is damaged; remove it to get new keys")
    return RootKeys(access_key, secret_key, False)
