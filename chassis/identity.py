"""Who asks: a session's cookie or an API token, looked up in MongoDB and remembered for two seconds.

Secrets are stored as digests only. The collections ``users``, ``sessions`` and ``api_tokens`` are the agent service's;
here they are read, except for when something was last used.
"""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from chassis.http import Problem
from chassis.mongo import Database, timed
from contracts.roles import Principal

COOKIE = "weir_session"
CSRF_HEADER = "X-CSRF-Token"
TOKEN_PREFIX = "weir_"  # noqa: S105  # what a token begins with
SESSION = web.RequestKey("session", str)
"""The name under which the caller's session is stored."""
CSRF = web.RequestKey("csrf", str)
REMEMBER_SECONDS = 2.0
MAX_REMEMBERED = 10_000
IDLE = timedelta(hours=12)
"""A session that is not used for so long is over."""
LONGEST = timedelta(days=7)
"""A session is over after so long, used or not."""
NOTE_EVERY = timedelta(minutes=1)
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))


def digest(secret: str) -> str:
    """What is stored of a session's or token's secret: it has 256 bits of chance, so it needs no salt."""
    return sha256(secret.encode()).hexdigest()


@dataclass(frozen=True)
class _Found:
    at: float
    who: Principal | None
    csrf: str = ""
    session: str = ""


class Identities:
    """Finds callers; one for each process."""

    def __init__(self, database: Database) -> None:
        self._users: Any = database["users"]
        self._sessions: Any = database["sessions"]
        self._tokens: Any = database["api_tokens"]
        self._remembered: dict[str, _Found] = {}

    async def find(self, request: web.Request) -> Principal | None:
        """Who asks; None for nobody. Raises the problem ``csrf``, and ``Unavailable``: nobody is let in unseen."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if given:
            secret = given.strip()
            if scheme.lower() != "bearer" or not secret.startswith(TOKEN_PREFIX):
                return None
            return (await self._look(f"t{digest(secret)}")).who
        cookie = request.cookies.get(COOKIE, "")
        if not cookie:
            return None
        found = await self._look(f"s{digest(cookie)}")
        if found.who is not None and request.method not in SAFE:
            _same_site(request, found.csrf)
        request[SESSION] = found.session
        request[CSRF] = found.csrf
        return found.who

    def forget(self) -> None:
        """Somebody signed out, was changed or lost a token: this process asks again at once, others within 2 s."""
        self._remembered.clear()

    async def _look(self, key: str) -> _Found:
        now = time.monotonic()
        known = self._remembered.get(key)
        if known is not None and now - known.at < REMEMBER_SECONDS:
            return known
        found = await (self._token(key[1:], now) if key[0] == "t" else self._session(key[1:], now))
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[key] = found
        return found

    async def _token(self, name: str, at: float) -> _Found:
        now = datetime.now(UTC)
        with timed("find"):
            token = await self._tokens.find_one({"_id": name})
        if token is None or (token.get("expires") and token["expires"] <= now):
            return _Found(at, None)
        if _stale(token.get("used"), now):
            with timed("update"):
                await self._tokens.update_one({"_id": name}, {"$set": {"used": now}})
        return _Found(
            at,
            Principal(
                name=token["name"],
                kind="token",
                permissions=frozenset(token["permissions"]),
                accounts=tuple(token["accounts"]),
            ),
        )

    async def _session(self, name: str, at: float) -> _Found:
        now = datetime.now(UTC)
        with timed("find"):
            session = await self._sessions.find_one({"_id": name})
        if session is None or now - session["seen"] > IDLE or now - session["created"] > LONGEST:
            return _Found(at, None)
        with timed("find"):
            user = await self._users.find_one({"_id": session["user"]})
        # Sessions from before the last change of the password are over.
        if user is None or user.get("disabled") or session["created"] < user["sessions_from"]:
            return _Found(at, None)
        if _stale(session["seen"], now):
            with timed("update"):
                await self._sessions.update_one({"_id": name}, {"$set": {"seen": now}})
        return _Found(at, Principal(name=user["_id"], kind="user", roles=user["roles"]), session["csrf"], name)


def _stale(at: datetime | None, now: datetime) -> bool:
    return at is None or now - at > NOTE_EVERY


def _same_site(request: web.Request, csrf: str) -> None:
    """A browser sends the cookie along whoever made it ask: the page must also show what only our pages know."""
    origin = request.headers.get("Origin", "")
    if origin:
        host = request.headers.get("X-Forwarded-Host") or request.host
        if urlsplit(origin).netloc.lower() != host.lower():
            raise Problem(403, "csrf", "this came from a page of another site")
    given = request.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), csrf.encode()):
        raise Problem(403, "csrf", f"send the session's csrf (from GET /api/session) in the header {CSRF_HEADER}")
