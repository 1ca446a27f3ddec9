"""Everything the platform remembers, in memory: accounts, followers, and who waits for news of whom."""

import asyncio
import base64
import hashlib
import random
import secrets
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from sandbox.accounts import Account, merge_config
from sandbox.clock import Clock
from sandbox.errors import ControlError
from sandbox.faults import FaultBook
from sandbox.followers import Entry, Follower
from sandbox.uploads import Shelf

# MsgIds of the platform are 64-bit and grow. Starting from the clock keeps them growing over a restart without a
# state file, and above 2**53, so that a receiver which puts them through a float is found out.
_MSGID_BASE = 24_000_000_000_000_000
_MSGID_EPOCH = 1_700_000_000


class Snapshot(msgspec.Struct):
    """What a state file holds."""

    accounts: dict[str, Account]
    followers: dict[str, Follower]
    next_msgid: int
    clock_offset: float = 0.0


class World:
    """One platform. Not safe for threads: it lives on one event loop."""

    def __init__(self, clock: Clock | None = None, base_url: str = "http://127.0.0.1:8101") -> None:
        self.base_url = base_url  # where this sandbox is reached, for the pictures it names
        self.clock = clock or Clock()
        self.faults = FaultBook()
        self.accounts: dict[str, Account] = {}
        self.followers: dict[str, Follower] = {}
        self.shelf = Shelf()
        self.closing = asyncio.Event()
        self.dirty = False  # whether something has changed since the last snapshot
        self.dice = random.Random()
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._next_msgid = _MSGID_BASE + int((self.clock.now() - _MSGID_EPOCH) * 1_000_000)

    def account(self, name: str) -> Account:
        try:
            return self.accounts[name]
        except KeyError:
            raise ControlError(f"there is no account {name!r}; PUT /sandbox/accounts/{name} makes one", 404) from None

    def follower(self, openid: str) -> Follower:
        try:
            return self.followers[openid]
        except KeyError:
            raise ControlError("there is no follower with this openid", 404) from None

    def followers_of(self, account: str) -> Iterator[Follower]:
        return (f for f in self.followers.values() if f.account == account)

    def put_account(self, name: str, change: object) -> Account:
        """Create the account or change its settings; its followers, tokens and counts stay. Raises ControlError."""
        existing = self.accounts.get(name)
        config = merge_config(name, existing.config if existing else None, change)
        for other in self.accounts.values():
            if other.name == name:
                continue
            if other.config.appid == config.appid:
                raise ControlError(f"appid: account {other.name!r} has it already", 409)
            if other.config.original_id == config.original_id:
                raise ControlError(f"original_id: account {other.name!r} has it already", 409)
        self.dirty = True
        if existing:
            existing.config = config
            return existing
        self.accounts[name] = account = Account(name=name, config=config)
        return account

    def new_follower(
        self,
        account: Account,
        *,
        nickname: str = "",
        openid: str | None = None,
        subscribe: bool = True,
        scene: str = "",
    ) -> Follower:
        """A new person, following unless told otherwise. Raises ControlError when the openid is taken."""
        openid = openid or self._new_openid(account)
        if openid in self.followers:
            raise ControlError("openid: this one is taken", 409)
        follower = Follower(
            openid=openid, account=account.name, nickname=nickname or f"用户{len(self.followers) + 1}", scene=scene
        )
        if subscribe:
            self.follow(follower)
        self.followers[openid] = follower
        self.dirty = True
        return follower

    def follow(self, follower: Follower) -> None:
        follower.following = True
        follower.subscribe_time = int(self.clock.now())

    def by_appid(self, appid: str) -> Account | None:
        return next((a for a in self.accounts.values() if a.config.appid == appid), None)

    def by_token(self, token: str) -> Account | None:
        return next((a for a in self.accounts.values() if token in a.tokens.tokens), None)

    def next_msgid(self) -> int:
        self._next_msgid += self.dice.randint(1, 9)
        return self._next_msgid

    def show(self, follower: Follower, entry: Entry) -> Entry:
        """Put an entry on the follower's phone, dated now, and wake whoever waits for it."""
        self.dirty = True
        added = follower.add({**entry, "at": round(self.clock.now(), 3)})
        self.wake((follower.openid,))
        return added

    def wake(self, openids: Iterable[str]) -> None:
        for openid in openids:
            for waiter in self._waiting.pop(openid, ()):
                if not waiter.done():
                    waiter.set_result(None)

    async def news(self, openid: str, seconds: float) -> None:
        """Wait until this phone shows something new, the time is over, or the sandbox stops."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(openid, set()).add(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            pass
        finally:
            waiting = self._waiting.get(openid)
            if waiting is not None:
                waiting.discard(waiter)
                if not waiting:
                    del self._waiting[openid]

    def close(self) -> None:
        """Wake every long poll, because the sandbox stops."""
        self.closing.set()
        self.wake(list(self._waiting))

    def snapshot(self) -> bytes:
        """The whole state as JSON. It holds secrets: keep it private."""
        state = Snapshot(self.accounts, self.followers, self._next_msgid, self.clock.offset)
        return msgspec.json.encode(state)

    def restore(self, raw: bytes) -> None:
        """Take over a snapshot. Raises msgspec.DecodeError or UnicodeDecodeError when it is not one."""
        state = msgspec.json.decode(raw, type=Snapshot)
        self.accounts, self.followers = state.accounts, state.followers
        self.clock.offset = state.clock_offset
        self._next_msgid = max(self._next_msgid, state.next_msgid)

    def _new_openid(self, account: Account) -> str:
        # As on the platform, the openids of one account begin alike and say nothing of the person.
        prefix = base64.urlsafe_b64encode(hashlib.sha256(account.config.appid.encode()).digest())[:6].decode()
        return f"o{prefix}{secrets.token_urlsafe(16)[:21]}"


def public_view(account: Account) -> dict[str, Any]:
    """An account without its secrets, for the control API."""
    config = msgspec.to_builtins(account.config)
    for secret in ("secret", "token", "aes_key"):
        config.pop(secret)
    return {
        "account": account.name,
        **config,
        "aes_key_set": bool(account.config.aes_key),
        "counters": msgspec.to_builtins(account.counters),
        "usage": msgspec.to_builtins(account.usage),
    }
