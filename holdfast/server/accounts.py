"""Changing the accounts of a DATA directory, while a server runs on it or without one.

Who may open DATA may do this: the committer's socket and the database are its owner's alone. One
administrator at a time: the lock on DATA where no server runs, else one of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from holdfast.config import Settings
from holdfast.iam import accounts
from holdfast.iam.accounts import AccountError as AccountError
from holdfast.meta.contract import MetaStore, MetaUnavailable
from holdfast.meta.sqlite.counters import Counters
from holdfast.meta.sqlite.store import SqliteMetaStore
from holdfast.server.committer import CommitterThread
from holdfast.server.data import (
    DataDirectory,
    DataError,
    DataLocked,
    kept_access_key,
    read_store_id,
    root_account_id,
)
from holdfast.server.metadata import DATABASE, SOCKET, SOCKET_PATH_BYTES_MAX, Metadata

ADMIN_LOCK = "accounts.lock"


class Administration:
    """What an administrator may do. Raises AccountError, and MetaUnavailable.

    `root_id` and `root_key` are taken: those of the server's own account.
    """

    def __init__(self, meta: MetaStore, root_id: str, root_key: str) -> None:
        self._meta = meta
        self._root_id = root_id
        self._root_key = root_key

    async def add_user(
        self, name: str, account_id: str, email: str, access_key: str, secret_key: str, now_ms: int
    ) -> dict[str, Any]:
        """With its first access key, the secret included. All of it or nothing."""
        account = await accounts.add_account(
            self._meta,
            name,
            account_id=account_id,
            email=email,
            reserved=self._root_id,
            now_ms=now_ms,
        )
        try:
            key = await self._add_key(account, access_key, secret_key, now_ms)
        except AccountError:
            await accounts.remove_account(self._meta, account)
            raise
        return {**_account(account), **key}

    async def users(self) -> list[dict[str, Any]]:
        found = await accounts.all_accounts(self._meta)
        return [_account(one) for one in sorted(found, key=lambda one: one.name)]

    async def remove_user(self, wanted: str) -> None:
        await accounts.remove_account(self._meta, await accounts.find_account(self._meta, wanted))

    async def add_key(
        self, wanted: str, access_key: str, secret_key: str, now_ms: int
    ) -> dict[str, Any]:
        account = await accounts.find_account(self._meta, wanted)
        return await self._add_key(account, access_key, secret_key, now_ms)

    async def remove_key(self, access_key: str) -> None:
        await accounts.remove_access_key(self._meta, access_key)

    async def keys(self, wanted: str) -> list[dict[str, Any]]:
        """Without their secrets."""
        account = await accounts.find_account(self._meta, wanted)
        return [
            {"access_key": key.access_key, "created_ms": key.created_ms}
            for key in await accounts.keys_of(self._meta, account.id)
        ]

    async def _add_key(
        self, account: accounts.Account, access_key: str, secret_key: str, now_ms: int
    ) -> dict[str, Any]:
        key = await accounts.add_access_key(
            self._meta, account, access_key, secret_key, reserved=self._root_key, now_ms=now_ms
        )
        return {"access_key": key.access_key, "secret_key": key.secret_key}


def _account(account: accounts.Account) -> dict[str, Any]:
    return {"name": account.name, "id": account.id, "email": account.email}


@contextlib.asynccontextmanager
async def administration(settings: Settings) -> AsyncIterator[Administration]:
    """Raises DataError (also when the store can't be reached), OSError."""
    root = _root(settings)
    try:
        try:
            data = DataDirectory.open(settings.data, create=False)
        except DataLocked:
            async with _beside_a_server(root) as meta:
                yield _administration(settings, root, meta)
            return
        try:
            async with _without_a_server(data, settings) as meta:
                yield _administration(settings, root, meta)
        finally:
            data.close()
    except MetaUnavailable as error:
        raise DataError(f"the metadata can't be changed: {error}") from error


def _root(settings: Settings) -> Path:
    return Path(settings.data).absolute()


def _administration(settings: Settings, root: Path, meta: MetaStore) -> Administration:
    root_key = settings.access_key or kept_access_key(root)
    return Administration(meta, root_account_id(read_store_id(root)), root_key)


@contextlib.asynccontextmanager
async def _without_a_server(data: DataDirectory, settings: Settings) -> AsyncIterator[MetaStore]:
    metadata = Metadata(data.path, settings)
    committer = CommitterThread(metadata)
    committer.start()
    try:
        store = await metadata.open_store()
        try:
            yield store.meta
        finally:
            await store.close()
    finally:
        await committer.stop()
        metadata.close()


@contextlib.asynccontextmanager
async def _beside_a_server(root: Path) -> AsyncIterator[MetaStore]:
    run_fd = os.open(root / "run", os.O_RDONLY | os.O_DIRECTORY)
    try:
        address = str(root / "run" / SOCKET)
        if len(os.fsencode(address)) > SOCKET_PATH_BYTES_MAX:
            address = f"/proc/self/fd/{run_fd}/{SOCKET}"
        _check_answers(root, address)
        # its counters never move, so nothing that a cache would keep may be read through it
        store = SqliteMetaStore(root / "meta" / DATABASE, address, Counters.anonymous())
        store.start()
        try:
            with await asyncio.to_thread(_admin_lock, run_fd):
                yield store
        finally:
            await store.close()
    finally:
        os.close(run_fd)


def _check_answers(root: Path, address: str) -> None:
    """Raises DataError when whoever holds DATA is no server (fsck, or another of these)."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address)
        except OSError:
            raise DataError(f"{root} is in use by something that is no server; wait") from None


@contextlib.contextmanager
def _locked(fd: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(fd)


def _admin_lock(run_fd: int) -> contextlib.AbstractContextManager[None]:
    """Waits for another administrator, who has little to do."""
    fd = os.open(ADMIN_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=run_fd)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return _locked(fd)
