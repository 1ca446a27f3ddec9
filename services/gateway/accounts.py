"""The Official Accounts that Weir answers for: their names, secrets and modes. Owner of the collection ``accounts``."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import msgspec

from chassis import logs
from chassis.mongo import Database, PyMongoError, timed
from contracts.errors import Unavailable

log = logs.get(__name__)

PLATFORM = "https://api.weixin.qq.com"
MODES = ("plain", "compatible", "safe")
REFRESH_SECONDS = 2.0
FIND_SECONDS = 0.5


class AccountError(Exception):
    """An account's fields are wrong; the text names the field and the fix."""


class Account(msgspec.Struct, frozen=True, omit_defaults=True):
    """One Official Account. ``name`` is ours: it stands in URLs, logs and metrics instead of the appid.

    ``aes_key`` is the current EncodingAESKey, ``previous_aes_key`` the one before, kept while a change settles.
    ``sends_per_second`` bounds calls of custom/send over all processes.
    """

    name: str
    appid: str
    secret: str
    token: str
    original_id: str
    mode: str = "safe"
    aes_key: str = ""
    previous_aes_key: str = ""
    api_base: str = PLATFORM
    sends_per_second: float = 100.0

    @property
    def aes_keys(self) -> tuple[str, ...]:
        return tuple(key for key in (self.aes_key, self.previous_aes_key) if key)

    def public(self) -> dict[str, Any]:
        """What may be shown: everything but token, secret and keys."""
        return {
            "name": self.name,
            "appid": self.appid,
            "original_id": self.original_id,
            "mode": self.mode,
            "api_base": self.api_base,
            "sends_per_second": self.sends_per_second,
        }


_RULES: tuple[tuple[str, str, str], ...] = (
    ("name", r"[a-z0-9][a-z0-9_-]{0,31}", "1 to 32 of a-z, 0-9, - and _, starting with a letter or digit"),
    ("appid", r"wx[0-9a-zA-Z]{16}", "wx and 16 letters or digits, from the platform's page 基本配置"),
    ("secret", r"[0-9a-zA-Z]{32}", "32 letters or digits (AppSecret), from the platform's page 基本配置"),
    ("token", r"[0-9a-zA-Z]{3,32}", "3 to 32 letters or digits, the same as on the platform's page 服务器配置"),
    ("original_id", r"gh_[0-9a-zA-Z]{8,20}", "gh_ and 8 to 20 letters or digits (原始ID, from the page 账号详情)"),
    ("mode", "|".join(MODES), "plain, compatible or safe"),
    ("aes_key", r"([0-9a-zA-Z]{43})?", "43 letters or digits (EncodingAESKey)"),
    ("previous_aes_key", r"([0-9a-zA-Z]{43})?", "43 letters or digits (EncodingAESKey)"),
    ("api_base", r"https?://[^\s/]+(/[^\s]*)?", f"an http(s) address such as {PLATFORM}"),
)


def check(account: Account) -> None:
    """Raise ``AccountError`` for the first field that cannot be right, without showing its value."""
    for field, pattern, wanted in _RULES:
        if not re.fullmatch(pattern, getattr(account, field)):
            raise AccountError(f"{field}: must be {wanted}")
    if account.mode != "plain" and not account.aes_key:
        raise AccountError(f"aes_key: mode {account.mode} needs the EncodingAESKey (43 letters or digits)")
    if not 0 < account.sends_per_second <= 1000:
        raise AccountError("sends_per_second: must be more than 0 and at most 1000")


class AccountRepository:
    """Accounts in MongoDB. Every call raises ``Unavailable`` when MongoDB is away."""

    def __init__(self, database: Database) -> None:
        self._collection = database["accounts"]

    async def all(self) -> list[Account]:
        with timed("find"):
            documents = await self._collection.find().sort("_id").to_list(None)
        return [account for document in documents if (account := _readable(document))]

    async def get(self, name: str) -> Account | None:
        with timed("find"):
            document = await self._collection.find_one({"_id": name})
        return _account(document) if document else None

    async def put(self, account: Account) -> None:
        """Add an account or replace the one of that name. Raises ``AccountError`` when its fields are wrong."""
        check(account)
        document = msgspec.to_builtins(account)
        document["_id"] = document.pop("name")
        with timed("replace"):
            await self._collection.replace_one({"_id": account.name}, document, upsert=True)

    async def remove(self, name: str) -> bool:
        """Remove an account; False when there was none of that name. Its history stays."""
        with timed("delete"):
            result = await self._collection.delete_one({"_id": name})
        return bool(result.deleted_count)


def _account(document: dict[str, Any]) -> Account:
    return msgspec.convert({"name": document["_id"], **document}, Account)


def _readable(document: dict[str, Any]) -> Account | None:
    """The account, or None for one that was spoilt by hand: it must not take the others along."""
    try:
        return _account(document)
    except msgspec.ValidationError as error:
        log.error("an account cannot be read; add it anew", account=str(document["_id"])[:64], reason=str(error))
        return None


class AccountDirectory:
    """The accounts in memory, kept fresh. While MongoDB is away the last known ones go on."""

    def __init__(self, repository: AccountRepository) -> None:
        self._repository = repository
        self._accounts: dict[str, Account] = {}
        self._refreshed = -FIND_SECONDS
        self._finding = asyncio.Lock()
        self.loaded = False

    def get(self, name: str) -> Account | None:
        return self._accounts.get(name)

    def all(self) -> list[Account]:
        return list(self._accounts.values())

    async def find(self, name: str) -> Account | None:
        """An account that may have been added a moment ago. Looked for twice a second at the most.

        Raises ``Unavailable`` when no accounts were ever loaded, so that it is not mistaken for unknown.
        """
        async with self._finding:  # who comes while somebody looks waits for what is found
            if time.monotonic() - self._refreshed >= FIND_SECONDS:
                try:
                    await self.refresh()
                except Unavailable as error:
                    log.warning("accounts not refreshed", reason=str(error))
                self._refreshed = time.monotonic()
        if not self.loaded:
            raise Unavailable("mongodb", "the accounts could not be read yet")
        return self._accounts.get(name)

    async def refresh(self) -> None:
        fresh = {account.name: account for account in await self._repository.all()}
        # Unchanged accounts stay the same objects: what is derived from one (ciphers) is kept by identity.
        self._accounts = {
            name: old if (old := self._accounts.get(name)) == account else account for name, account in fresh.items()
        }
        self.loaded = True

    async def keep(self) -> None:
        """Refresh for ever."""
        while True:
            try:
                await self.refresh()
            except (Unavailable, PyMongoError) as error:
                log.warning("accounts not refreshed", reason=str(error))
            await asyncio.sleep(REFRESH_SECONDS)
