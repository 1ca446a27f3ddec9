"""People who sign in: users, their sessions, the one-time link of the first, and programs' tokens.

Owner of ``users``, ``sessions``, ``api_tokens``, ``setup_links`` and ``sign_in_tries``. Every call raises
``Unavailable`` when MongoDB is away.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from chassis.identity import LONGEST, TOKEN_PREFIX, digest
from chassis.mongo import ASCENDING, DESCENDING, Database, DuplicateKeyError, ReturnDocument, timed
from contracts.roles import EVERY_ACCOUNT, GRANTS, PERMISSIONS

Document = dict[str, Any]

MIN_PASSWORD = 10
MAX_PASSWORD = 256
HASHING = 2
"""Passwords hashed at a time: each takes 64 MiB and a tenth of a second on purpose."""
LINK_LIFE = timedelta(hours=24)
FREE_TRIES = 5
"""Wrong passwords in a row before the next try has to wait; each one more doubles the wait."""
LONGEST_WAIT = timedelta(minutes=15)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,63}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UserError(Exception):
    """What was asked for cannot be done; the text names the field and the fix."""


class TooManyTries(Exception):
    """Wait before the next try; ``seconds`` at the least."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"wait {seconds:.0f} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Session:
    """``secret`` is the cookie; it is told once and stored nowhere."""

    secret: str
    csrf: str


class Users:
    def __init__(self, database: Database) -> None:
        self._users: Any = database["users"]
        self._sessions: Any = database["sessions"]
        self._tokens: Any = database["api_tokens"]
        self._links: Any = database["setup_links"]
        self._tries: Any = database["sign_in_tries"]
        self._hasher = PasswordHasher()
        self._hashing = asyncio.Semaphore(HASHING)
        self._nobody = ""

    async def prepare(self) -> None:
        with timed("create_index"):
            await self._sessions.create_index("created", expireAfterSeconds=int(LONGEST.total_seconds()))
            await self._sessions.create_index([("user", ASCENDING)])
            await self._tries.create_index("at", expireAfterSeconds=24 * 3600)
            await self._links.create_index("expires", expireAfterSeconds=0)
        if not self._nobody:
            # What an unknown name is compared with: it must take as long to refuse as a known one.
            self._nobody = await self._hash(secrets.token_urlsafe(16))

    async def any(self) -> bool:
        with timed("find"):
            return await self._users.find_one({}, {"_id": 1}) is not None

    # -- signing in --

    async def sign_in(self, name: str, password: str, place: str) -> Session | None:
        """A session, None for a wrong name or password; ``place`` is where they call from. Raises ``TooManyTries``."""
        now = datetime.now(UTC)
        tries = [f"name|{name[:64].lower()}", f"place|{place}"]
        await self._may_try(tries, now)
        with timed("find"):
            user = await self._users.find_one({"_id": name.lower()})
        good = await self._verify(user["password"] if user else self._nobody, password)
        if user is None or not good or user.get("disabled"):
            await self._wrong(tries, now)
            return None
        with timed("delete"):
            await self._tries.delete_one({"_id": tries[0]})
        if self._hasher.check_needs_rehash(user["password"]):
            await self._set(user["_id"], {"password": await self._hash(password)})
        return await self._begin(user["_id"], now)

    async def _begin(self, user: str, now: datetime) -> Session:
        session = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(24))
        with timed("insert"):
            await self._sessions.insert_one(
                {"_id": digest(session.secret), "user": user, "csrf": session.csrf, "created": now, "seen": now}
            )
        return session

    async def _may_try(self, tries: Sequence[str], now: datetime) -> None:
        with timed("find"):
            found = await self._tries.find({"_id": {"$in": list(tries)}}).to_list(None)
        for one in found:
            over = one["count"] - FREE_TRIES * (10 if one["_id"].startswith("place|") else 1)
            if over >= 0:
                wait = min(timedelta(seconds=2.0 ** min(over, 20)), LONGEST_WAIT)
                left = (one["at"] + wait - now).total_seconds()
                if left > 0:
                    raise TooManyTries(left)

    async def _wrong(self, tries: Sequence[str], now: datetime) -> None:
        for one in tries:
            with timed("update"):
                await self._tries.update_one({"_id": one}, {"$inc": {"count": 1}, "$set": {"at": now}}, upsert=True)

    async def sign_out(self, session: str) -> None:
        """End a session, by the name under which it is stored."""
        with timed("delete"):
            await self._sessions.delete_one({"_id": session})

    async def sign_out_everywhere(self, name: str) -> int:
        with timed("delete"):
            return int((await self._sessions.delete_many({"user": name})).deleted_count)

    # -- the first administrator --

    async def setup_link(self) -> str:
        """The secret of a new one-time link, which takes the place of those before it."""
        secret = secrets.token_urlsafe(32)
        with timed("delete"):
            await self._links.delete_many({})
        with timed("insert"):
            await self._links.insert_one({"_id": digest(secret), "expires": datetime.now(UTC) + LINK_LIFE})
        return secret

    async def set_up(self, secret: str, name: str, password: str) -> bool:
        """Make the first administrator; False for a link that is used, over or none. Raises ``UserError``."""
        _check(name, {EVERY_ACCOUNT: "admin"}, password)
        with timed("find"):
            link = await self._links.find_one({"_id": digest(secret), "expires": {"$gt": datetime.now(UTC)}})
        if link is None or await self.any():
            return False
        hashed = await self._hash(password)
        with timed("delete"):
            # Whoever takes the link away has used it: of two at the same moment, one.
            if not (await self._links.delete_one({"_id": digest(secret)})).deleted_count:
                return False
        await self._insert(name, {EVERY_ACCOUNT: "admin"}, hashed)
        return True

    # -- users --

    async def all(self) -> list[Document]:
        with timed("find"):
            found: list[Document] = await self._users.find({}, {"password": 0}).sort("_id").to_list(None)
        return found

    async def get(self, name: str) -> Document | None:
        with timed("find"):
            found: Document | None = await self._users.find_one({"_id": name}, {"password": 0})
        return found

    async def add(self, name: str, roles: Mapping[str, str], password: str) -> None:
        """Raises ``UserError``."""
        _check(name, roles, password)
        await self._insert(name, roles, await self._hash(password))

    async def change(self, name: str, *, roles: Mapping[str, str] | None, disabled: bool | None) -> Document | None:
        """Change what is given; the user as they are now, None when there is none. Raises ``UserError``."""
        changes: Document = {}
        if roles is not None:
            _check_roles(roles)
            changes["roles"] = dict(roles)
        if disabled is not None:
            changes["disabled"] = disabled
        if await self._is_last_admin(name) and (disabled or (roles is not None and not _is_admin(roles))):
            raise UserError("roles: this is the last administrator; make another one first")
        return await self._set(name, changes)

    async def set_password(self, name: str, password: str, *, keep_sessions: bool = False) -> bool:
        """Set a password, which ends the user's sessions. Raises ``UserError``."""
        _check_password(password)
        changes: Document = {"password": await self._hash(password)}
        if not keep_sessions:
            changes["sessions_from"] = datetime.now(UTC)
        return await self._set(name, changes) is not None

    async def knows_password(self, name: str, password: str) -> bool:
        with timed("find"):
            user = await self._users.find_one({"_id": name})
        return await self._verify(user["password"] if user else self._nobody, password) and user is not None

    async def _is_last_admin(self, name: str) -> bool:
        admins = [user["_id"] for user in await self.all() if _is_admin(user["roles"]) and not user.get("disabled")]
        return admins == [name]

    async def _insert(self, name: str, roles: Mapping[str, str], hashed: str) -> None:
        now = datetime.now(UTC)
        user = {"_id": name, "roles": dict(roles), "password": hashed, "created": now, "sessions_from": _EPOCH}
        try:
            with timed("insert"):
                await self._users.insert_one(user)
        except DuplicateKeyError:
            raise UserError(f"name: there is a user {name!r} already") from None

    async def _set(self, name: str, changes: Document) -> Document | None:
        with timed("find_and_modify"):
            found: Document | None = await self._users.find_one_and_update(
                {"_id": name},
                {"$set": {**changes, "changed": datetime.now(UTC)}},
                projection={"password": 0},
                return_document=ReturnDocument.AFTER,
            )
        return found

    async def _hash(self, password: str) -> str:
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def _verify(self, hashed: str, password: str) -> bool:
        if len(password) > MAX_PASSWORD:
            return False
        async with self._hashing:
            try:
                return await asyncio.to_thread(self._hasher.verify, hashed, password)
            except (VerificationError, InvalidHashError):
                return False

    # -- programs --

    async def add_token(
        self, name: str, permissions: Sequence[str], accounts: Sequence[str], days: int | None, by: str
    ) -> str:
        """A new token for a program: the secret, which is told once. Raises ``UserError``."""
        if not _NAME.fullmatch(name):
            raise UserError("name: must be 2 to 64 of a-z, 0-9, . _ and -, starting with a letter or digit")
        if unknown := sorted(set(permissions) - set(PERMISSIONS)):
            raise UserError(f"permissions: there is no {unknown[0]!r}; there are {', '.join(PERMISSIONS)}")
        if not permissions or not accounts:
            raise UserError("permissions, accounts: name at least one of each; * stands for every account")
        secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        with timed("find"):
            if await self._tokens.find_one({"name": name}):
                raise UserError(f"name: there is a token {name!r} already; revoke it first")
        with timed("insert"):
            await self._tokens.insert_one(
                {
                    "_id": digest(secret),
                    "name": name,
                    "permissions": sorted(set(permissions)),
                    "accounts": sorted(set(accounts)),
                    "created": now,
                    "by": by,
                    "expires": now + timedelta(days=days) if days else None,
                }
            )
        return secret

    async def tokens(self) -> list[Document]:
        with timed("find"):
            found: list[Document] = await self._tokens.find({}, {"_id": 0}).sort("created", DESCENDING).to_list(None)
        return found

    async def revoke_token(self, name: str) -> bool:
        with timed("delete"):
            return bool((await self._tokens.delete_many({"name": name})).deleted_count)


def _is_admin(roles: Mapping[str, str]) -> bool:
    return roles.get(EVERY_ACCOUNT) == "admin"


def _check(name: str, roles: Mapping[str, str], password: str) -> None:
    if not _NAME.fullmatch(name):
        raise UserError("name: must be 2 to 64 of a-z, 0-9, . _ and -, starting with a letter or digit")
    _check_roles(roles)
    _check_password(password)


def _check_roles(roles: Mapping[str, str]) -> None:
    for account, role in roles.items():
        if role not in GRANTS:
            raise UserError(f"roles: there is no role {role[:40]!r}; there are {', '.join(GRANTS)}")
        if account != EVERY_ACCOUNT and not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", account):
            raise UserError(f"roles: {account[:40]!r} is no account's name; * stands for every account")


def _check_password(password: str) -> None:
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise UserError(f"password: must have {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    if "\0" in password:
        raise UserError("password: must not hold a NUL")
