"""Accounts against a metadata store: what is refused, what lasts, and what is forgotten at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from holdfast.auth.identity import Credential
from holdfast.iam import accounts
from holdfast.iam.accounts import AccountError, principal
from holdfast.iam.directory import Directory, NotLoaded
from holdfast.meta.commands import CreateBucket
from holdfast.meta.contract import MetaStore
from holdfast.testing.memory_meta import MemoryMetaStore

ROOT = Credential("ROOTKEY", "rootsecret", "f" * 64, "root", True)

Scenario = Callable[[MetaStore], Awaitable[None]]


def run(scenario: Scenario) -> None:
    asyncio.run(scenario(MemoryMetaStore()))  # type: ignore[arg-type]


async def add(meta: MetaStore, name: str, account_id: str = "", email: str = "") -> str:
    account = await accounts.add_account(
        meta, name, account_id=account_id, email=email, reserved=ROOT.account_id, now_ms=1
    )
    return account.id


def test_an_account_is_found_by_all_its_names() -> None:
    async def scenario(meta: MetaStore) -> None:
        account_id = await add(meta, "alice", email="Alice@example.org")
        assert len(account_id) == 64
        for wanted in (account_id, "alice", "alice@EXAMPLE.org"):
            assert (await accounts.find_account(meta, wanted)).id == account_id
        for wanted in ("bob", "", "/", "alice/"):
            with pytest.raises(AccountError):
                await accounts.find_account(meta, wanted)

    run(scenario)


@pytest.mark.parametrize(
    ("name", "account_id", "email"),
    [
        ("alice", "", ""),
        ("other", "alice", ""),
        ("alice-id", "", ""),
        ("other", "alice-id", ""),
        ("other", "", "A@x.org"),
        ("root", "", ""),
        ("other", "root", ""),
        ("other", ROOT.account_id, ""),
        (ROOT.account_id, "", ""),
        ("", "", ""),
        ("a/b", "", ""),
        ("a*", "", ""),
        ("other", "a/b", ""),
        ("other", "a:b", ""),
        ("other", "*", ""),
        ("other", "", "no address"),
    ],
)
def test_refused(name: str, account_id: str, email: str) -> None:
    """Above all what would make one account answer to another's name in a policy."""

    async def scenario(meta: MetaStore) -> None:
        await add(meta, "alice", "alice-id", "a@x.org")
        with pytest.raises(AccountError):
            await add(meta, name, account_id, email)
        assert [one.name for one in await accounts.all_accounts(meta)] == ["alice"]

    run(scenario)


def test_names_in_policies_are_nobody_elses() -> None:
    one, other = principal("1", "alice"), principal("2", "bob")
    assert {"1", "arn:aws:iam::1:root", "arn:aws:iam::alice:user/alice"} <= one.names
    assert one.names.isdisjoint(other.names)
    assert "alice" not in one.names  # a name alone is no principal


def test_keys() -> None:
    async def scenario(meta: MetaStore) -> None:
        account = await accounts.find_account(meta, await add(meta, "alice"))
        other = await accounts.find_account(meta, await add(meta, "bob"))
        made = await accounts.add_access_key(meta, account, now_ms=1)
        assert made.access_key.startswith("AKIA")
        assert len(made.secret_key) == 40
        await accounts.add_access_key(meta, account, "IMPORTED", "12345678", now_ms=1)
        for access_key, secret in (
            ("IMPORTED", "another-secret"), ("ROOTKEY", "12345678"), ("a/b", "12345678"),
            ("ab", "12345678"), ("OTHER", "short"), ("OTHER", ""), ("", "12345678"),
            ("OTHER", "12345678\n"),
        ):  # fmt: skip
            with pytest.raises(AccountError):
                await accounts.add_access_key(
                    meta, other, access_key, secret, reserved="ROOTKEY", now_ms=1
                )
        keys = await accounts.keys_of(meta, account.id)
        assert {key.access_key for key in keys} == {"IMPORTED", made.access_key}
        assert await accounts.keys_of(meta, other.id) == []
        await accounts.remove_access_key(meta, "IMPORTED")
        with pytest.raises(AccountError):
            await accounts.remove_access_key(meta, "IMPORTED")

    run(scenario)


def test_keys_of_one_account_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "ACCESS_KEYS_MAX", 2)

    async def scenario(meta: MetaStore) -> None:
        account = await accounts.find_account(meta, await add(meta, "alice"))
        for _ in range(2):
            await accounts.add_access_key(meta, account, now_ms=1)
        with pytest.raises(AccountError, match="remove one"):
            await accounts.add_access_key(meta, account, now_ms=1)

    run(scenario)


def test_accounts_beyond_one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "PAGE_DOCUMENTS", 3)

    async def scenario(meta: MetaStore) -> None:
        for number in range(7):
            await add(meta, f"user{number}", f"id{number}")
        found = await accounts.all_accounts(meta)
        assert [one.id for one in found] == [f"id{number}" for number in range(7)]

    run(scenario)


def test_an_owner_of_buckets_stays() -> None:
    async def scenario(meta: MetaStore) -> None:
        account = await accounts.find_account(meta, await add(meta, "alice"))
        await meta.submit(CreateBucket("b", account.id, "us-east-1"))
        with pytest.raises(AccountError, match="owns buckets"):
            await accounts.remove_account(meta, account)
        assert await accounts.read_account(meta, account.id) == account

    run(scenario)


def test_a_removed_key_is_worthless_at_once() -> None:
    async def scenario(meta: MetaStore) -> None:
        directory = Directory(meta, ROOT)
        account = await accounts.find_account(meta, await add(meta, "alice", "alice-id"))
        for end in ("key", "account"):
            await accounts.add_access_key(meta, account, "AKALICE", "12345678", now_ms=1)
            with pytest.raises(NotLoaded):
                directory.credential("AKALICE")
            assert await directory.load("AKALICE") == Credential(
                "AKALICE", "12345678", "alice-id", "alice", False
            )
            assert directory.credential("AKALICE").display_name == "alice"  # kept now
            if end == "key":
                await accounts.remove_access_key(meta, "AKALICE")
            else:
                await accounts.remove_account(meta, account)
            with pytest.raises(NotLoaded):
                directory.credential("AKALICE")
            assert await directory.load("AKALICE") is None

    run(scenario)


def test_keys_of_a_removal_that_was_cut_short_are_worthless() -> None:
    async def scenario(meta: MetaStore) -> None:
        directory = Directory(meta, ROOT)
        account = await accounts.find_account(meta, await add(meta, "alice", "alice-id"))
        await accounts.add_access_key(meta, account, "AKALICE", "12345678", now_ms=1)
        await accounts._put(meta, accounts.ACCOUNT_KIND + account.id, None)
        assert await directory.load("AKALICE") is None
        await add(meta, "another", "alice-id")  # the id comes back, the key does not
        assert await directory.load("AKALICE") is None

    run(scenario)


def test_guesses_push_nothing_out() -> None:
    async def scenario(meta: MetaStore) -> None:
        directory = Directory(meta, ROOT)
        account = await accounts.find_account(meta, await add(meta, "alice"))
        await accounts.add_access_key(meta, account, "AKALICE", "12345678", now_ms=1)
        await directory.load("AKALICE")
        for number in range(100):
            assert await directory.load(f"GUESS{number}") is None
        assert directory.credential("AKALICE")
        assert directory.credential("ROOTKEY") is ROOT
        assert await directory.display_name(ROOT.account_id) == "root"
        assert await directory.display_name("nobody") == ""

    run(scenario)
