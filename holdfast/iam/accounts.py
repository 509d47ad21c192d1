"""Accounts and their access keys: the records, where they are kept, and how they are changed.

Kept as documents of the store (bucket 0): `account/<id>` and `access-key/<access key>`. A key names
its account and counts only while that account exists, so removing an account is one document.
Ids and names share one space: no name of one account is the id of another, because a policy may
mean an account by either.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import AsyncIterator
from functools import lru_cache

import msgspec

from holdfast.auth.policy import Principal
from holdfast.meta.commands import PutDocument, Refused
from holdfast.meta.contract import MetaFull, MetaReader, MetaStore

STORE_ID = 0
ACCOUNT_KIND = "account/"
KEY_KIND = "access-key/"
#: the name of the account that the server's own keys belong to; it is not kept here
ROOT_NAME = "root"

PAGE_DOCUMENTS = 1000
ACCESS_KEYS_MAX = 100  # of one account
SECRET_CHARS_MIN = 8
SECRET_CHARS_MAX = 256
PRINCIPALS_KEPT_MAX = 10_000

#: what an ARN and a document's kind can carry without a second meaning
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+=$-]{0,127}\Z")
_NAME = re.compile(r"[\w.@+=,-][\w .@+=,-]{0,63}\Z")
_EMAIL = re.compile(r"[^\s@<>\"&]{1,64}@[^\s@<>\"&]{1,190}\Z")
_ACCESS_KEY = re.compile(r"[A-Za-z0-9_.+-]{3,128}\Z")
_ACCESS_KEY_ALPHABET = string.ascii_uppercase + "234567"


class AccountError(Exception):
    """What was asked for can't be done; the message is for whoever asked."""


class Account(msgspec.Struct, frozen=True):
    """`id`: the canonical user id. `email`: "" for none; unique."""

    id: str
    name: str
    email: str = ""
    created_ms: int = 0


class AccessKey(msgspec.Struct, frozen=True):
    access_key: str
    secret_key: str
    account_id: str
    created_ms: int = 0


@lru_cache(maxsize=PRINCIPALS_KEPT_MAX)
def principal(account_id: str, name: str) -> Principal:
    """The account with every name that a policy may mean it by: its id, the ARN of the account and
    the ARN of a user of its own name, each with the id or the name in the account's place."""
    names = {account_id}
    for account in filter(None, (account_id, name)):
        names |= {f"arn:aws:iam::{account}:root", f"arn:aws:iam::{account}:user/{name}"}
    return Principal(account_id, frozenset(names))


def new_access_key() -> tuple[str, str]:
    """(access key, secret key), of the form of AWS's."""
    access_key = "AKIA" + "".join(secrets.choice(_ACCESS_KEY_ALPHABET) for _ in range(16))
    return access_key, secrets.token_urlsafe(30)


# --- reading ---------------------------------------------------------------------------------


async def read_account(meta: MetaReader, account_id: str) -> Account | None:
    body = await meta.document(STORE_ID, ACCOUNT_KIND + account_id)
    return None if body is None else msgspec.json.decode(body, type=Account)


async def read_access_key(meta: MetaReader, access_key: str) -> AccessKey | None:
    """Also of a removed account: whoever trusts it reads that as well."""
    body = await meta.document(STORE_ID, KEY_KIND + access_key)
    return None if body is None else msgspec.json.decode(body, type=AccessKey)


async def _bodies(meta: MetaReader, kind: str) -> AsyncIterator[bytes]:
    after = ""
    while True:
        page = await meta.documents(STORE_ID, kind, after, PAGE_DOCUMENTS)
        for _, body in page:
            yield body
        if len(page) < PAGE_DOCUMENTS:
            return
        after = page[-1][0]


async def all_accounts(meta: MetaReader) -> list[Account]:
    """In order of their ids."""
    return [msgspec.json.decode(body, type=Account) async for body in _bodies(meta, ACCOUNT_KIND)]


async def keys_of(meta: MetaReader, account_id: str) -> list[AccessKey]:
    found = []
    async for body in _bodies(meta, KEY_KIND):
        key = msgspec.json.decode(body, type=AccessKey)
        if key.account_id == account_id:
            found.append(key)
    return found


async def find_account(meta: MetaReader, wanted: str) -> Account:
    """By id, name or email address. Raises AccountError."""
    if _ID.match(wanted):
        account = await read_account(meta, wanted)
        if account is not None:
            return account
    for account in await all_accounts(meta):
        if wanted == account.name or wanted.lower() == account.email.lower() != "":
            return account
    raise AccountError(f"there is no user {wanted}")


# --- changing --------------------------------------------------------------------------------
# One administrator at a time: the callers hold the lock that makes "look, then write" safe.


async def add_account(
    meta: MetaStore, name: str, *, account_id: str = "", email: str = "", reserved: str = "",
    now_ms: int,
) -> Account:  # fmt: skip
    """`reserved`: the root's id. Raises AccountError."""
    account_id = account_id or secrets.token_hex(32)
    if not _NAME.match(name):
        raise AccountError("a name has 1 to 64 letters, digits, spaces and _ . @ + = , -")
    if not _ID.match(account_id):
        raise AccountError("an id has 1 to 128 letters, digits and _ . @ + = $ -")
    if email and not _EMAIL.match(email):
        raise AccountError(f"{email} is no email address")
    if {ROOT_NAME, reserved} & {name, account_id}:
        raise AccountError(f"{ROOT_NAME} is the account of the server's own keys")
    for other in await all_accounts(meta):
        if {name, account_id} & {other.id, other.name}:
            raise AccountError(f"there is a user {other.name} with the id {other.id} already")
        if email and email.lower() == other.email.lower():
            raise AccountError(f"{email} is the address of {other.name}")
    for key in await keys_of(meta, account_id):  # left by a removal that was cut short
        await _put(meta, KEY_KIND + key.access_key, None)
    account = Account(account_id, name, email, now_ms)
    await _put(meta, ACCOUNT_KIND + account_id, msgspec.json.encode(account))
    return account


async def remove_account(meta: MetaStore, account: Account) -> None:
    """Its access keys are worthless at once. Raises AccountError while it owns buckets."""
    if await meta.list_buckets(account.id, limit=1):
        raise AccountError(f"{account.name} owns buckets: remove those first")
    keys = await keys_of(meta, account.id)
    await _put(meta, ACCOUNT_KIND + account.id, None)
    for key in keys:
        await _put(meta, KEY_KIND + key.access_key, None)


async def add_access_key(
    meta: MetaStore, account: Account, access_key: str = "", secret_key: str = "", *,
    reserved: str = "", now_ms: int,
) -> AccessKey:  # fmt: skip
    """A new key, or the one given. `reserved`: the root's. Raises AccountError."""
    if bool(access_key) != bool(secret_key):
        raise AccountError("an access key and its secret key come together")
    if not access_key:
        access_key, secret_key = new_access_key()
    if not _ACCESS_KEY.match(access_key):
        raise AccountError("an access key has 3 to 128 letters, digits and _ . + -")
    if not SECRET_CHARS_MIN <= len(secret_key) <= SECRET_CHARS_MAX or not secret_key.isprintable():
        raise AccountError(
            f"a secret key has {SECRET_CHARS_MIN} to {SECRET_CHARS_MAX} printable characters"
        )
    if access_key == reserved or await read_access_key(meta, access_key) is not None:
        raise AccountError(f"the access key {access_key} is in use")
    if len(await keys_of(meta, account.id)) >= ACCESS_KEYS_MAX:
        raise AccountError(f"{account.name} has {ACCESS_KEYS_MAX} access keys: remove one first")
    key = AccessKey(access_key, secret_key, account.id, now_ms)
    await _put(meta, KEY_KIND + access_key, msgspec.json.encode(key))
    return key


async def remove_access_key(meta: MetaStore, access_key: str) -> None:
    """Worthless at once, in every worker. Raises AccountError."""
    if await read_access_key(meta, access_key) is None:
        raise AccountError(f"there is no access key {access_key}")
    await _put(meta, KEY_KIND + access_key, None)


async def _put(meta: MetaStore, kind: str, body: bytes | None) -> None:
    result = await meta.submit(PutDocument(STORE_ID, kind, body))
    if isinstance(result, Refused):
        raise MetaFull(result.code)
