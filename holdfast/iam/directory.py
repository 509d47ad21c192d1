"""Who an access key belongs to, and what an account is called: kept by each worker.

Rule: what is kept stands only as long as the store's generation, which moves before the answer to
the command that removes a key; so no worker serves a removed key. What does not exist is not kept:
guesses can't push out what is in use.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.auth.identity import Credential
from holdfast.iam.accounts import Account, all_accounts, read_access_key, read_account
from holdfast.meta.contract import MetaReader

#: keys and accounts kept at the same time
KEPT_MAX = 10_000


class NotLoaded(Exception):
    """A key that must be looked up first: `load` it, then ask again."""

    def __init__(self, access_key: str) -> None:
        super().__init__(access_key)
        self.access_key = access_key


class Directory:
    """The accounts as one worker sees them. `root` is the server's own."""

    def __init__(self, meta: MetaReader, root: Credential) -> None:
        self._meta = meta
        self.root = root
        self._root_key = root.access_key
        self._generation = -1
        self._credentials: dict[str, Credential] = {}
        self._accounts: dict[str, Account] = {
            root.account_id: Account(root.account_id, root.display_name)
        }

    def credential(self, access_key: str) -> Credential:
        """Without waiting. Raises NotLoaded."""
        if access_key == self._root_key:
            return self.root
        self._refresh()
        found = self._credentials.get(access_key)
        if found is None:
            raise NotLoaded(access_key)
        return found

    async def load(self, access_key: str) -> Credential | None:
        """The key's credential out of the store; None when there is no such key."""
        generation = self._refresh()
        key = await read_access_key(self._meta, access_key)
        account = None if key is None else await self.account(key.account_id)
        if key is None or account is None:
            return None
        found = Credential(access_key, key.secret_key, account.id, account.name, False)
        if generation == self._meta.generation():
            self._credentials[access_key] = found
        return found

    async def account(self, account_id: str) -> Account | None:
        """By its canonical user id; None when there is none (any more)."""
        generation = self._refresh()
        found = self._accounts.get(account_id)
        if found is None:
            found = await read_account(self._meta, account_id)
            if found is not None and generation == self._meta.generation():
                self._accounts[account_id] = found
        return found

    async def display_name(self, account_id: str) -> str:
        """ "" for an account that is gone."""
        found = await self.account(account_id)
        return "" if found is None else found.name

    async def display_names(self, account_ids: Iterable[str]) -> dict[str, str]:
        """For a listing: each account once."""
        return {one: await self.display_name(one) for one in set(account_ids)}

    async def by_email(self, email: str) -> list[Account]:
        """All accounts of that address. Rare: reads them all."""
        accounts = await all_accounts(self._meta)
        return [one for one in accounts if one.email and one.email.lower() == email.lower()]

    def _refresh(self) -> int:
        """Forget what may have changed; the generation that what is read from now on is of."""
        generation = self._meta.generation()
        if generation != self._generation or len(self._credentials) >= KEPT_MAX or (
            len(self._accounts) >= KEPT_MAX
        ):  # fmt: skip
            self._credentials.clear()
            self._accounts = {
                self.root.account_id: Account(self.root.account_id, self.root.display_name)
            }
            self._generation = generation
        return generation
