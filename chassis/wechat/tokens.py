"""The access token: one for each account, however many processes use it.

Tokens come from ``/cgi-bin/stable_token`` in normal mode, which gives every caller the same token while it is valid
(10,000 calls a minute, 500,000 a day) and is told the secret in its body, not in its URL. ``force_refresh`` (20 a day)
is never used: it would invalidate the token of everyone else. Source: WeChat's page "Get stable access token".

A token is renewed from five minutes before it expires; the old one keeps working meanwhile. Within a process one
renewal is under way at a time; between processes a lease in the shared store sees to that.
"""

from __future__ import annotations

import asyncio
import secrets as random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from chassis import logs
from chassis.wechat.http import HttpClient, encode
from chassis.wechat.stable_token import TokenReason, TokenTrouble, read_token

RENEW_SECONDS: Final = 300
"""How long before its end a token is renewed."""
LEASE_SECONDS: Final = 15
MAX_FETCHES: Final = 2
BREAKER_SECONDS: Final = 30.0
"""At most ``MAX_FETCHES`` requests for a token leave a process within this time."""
_WAIT_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1

_log = logs.get(__name__)


class StoredToken(msgspec.Struct, frozen=True):
    """A token as the store keeps it. ``version`` grows with every renewal; ``expires_at`` is in Unix seconds."""

    value: str
    version: int
    expires_at: float

    def __repr__(self) -> str:
        return f"StoredToken(value='***', version={self.version}, expires_at={self.expires_at:.0f})"


class TokenStore(Protocol):
    """Where the processes share tokens. Its errors may be of any type: then each process manages for itself."""

    async def get(self, appid: str) -> StoredToken | None:
        """Return the account's token, or None when there has never been one."""

    async def lease(self, appid: str, holder: str, seconds: float) -> bool:
        """Try to become the one who renews the token for so many seconds.

        True for the holder itself, again and again; false while somebody else is.
        """

    async def put(self, appid: str, token: str, expires_at: float, version_seen: int) -> StoredToken:
        """Store a token as version ``version_seen + 1`` and end the lease.

        When the stored version is no longer ``version_seen`` (0: none was there), keep what is stored. Return what is
        stored in the end.
        """


class TokenSource:
    """Hands out one account's token. Make one for each account and process."""

    def __init__(
        self,
        store: TokenStore,
        http: HttpClient,
        base_url: str,
        appid: str,
        secret: str,
        clock: Callable[[], float],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``clock`` returns Unix seconds; ``sleep`` waits so many of them."""
        self._store = store
        self._http = http
        self._url = f"{base_url.rstrip('/')}/cgi-bin/stable_token"
        self._appid = appid
        self._secret = secret
        self._clock = clock
        self._sleep = sleep
        self._holder = random.token_hex(8)
        self._token: StoredToken | None = None
        self._renewal: asyncio.Task[StoredToken] | None = None
        self._fetches: deque[float] = deque(maxlen=MAX_FETCHES)
        self._trouble: TokenTrouble | None = None
        self._recent: deque[str] = deque(maxlen=4)

    async def current(self) -> StoredToken:
        """Return a token that is valid now.

        Raises:
            TokenTrouble: there is none to be had.

        """
        token = self._token
        if token is not None and token.expires_at - self._clock() > RENEW_SECONDS:
            return token
        return await self._renewed(None)

    async def refresh(self, failed: StoredToken) -> StoredToken:
        """Return a token to use instead of one that WeChat refused.

        Only the first to report a token renews it; whoever reports one that is already replaced gets the newer one.

        Raises:
            TokenTrouble: there is none to be had.

        """
        token = self._token
        if token is None or not _replaces(token, failed):
            token = await self._renewed(failed)
        if not _replaces(token, failed):  # the renewal that was under way had begun before this failure
            token = await self._renewed(failed)
        return token

    def secrets(self) -> tuple[str, ...]:
        """Return what must be masked in WeChat's answers; a token that was replaced still works for minutes."""
        return (self._secret, *self._recent)

    async def _renewed(self, failed: StoredToken | None) -> StoredToken:
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew(failed), name=f"token {self._appid}")
            # Looked at here too, in case every caller was cancelled meanwhile.
            self._renewal.add_done_callback(lambda task: task.cancelled() or task.exception())
        # A caller that is cancelled must not take the renewal of all the others with it.
        token = await asyncio.shield(self._renewal)
        if token.value not in self._recent:
            self._recent.append(token.value)
        return token

    async def _renew(self, failed: StoredToken | None) -> StoredToken:
        for _ in range(round(_WAIT_SECONDS / _POLL_SECONDS)):
            stored, shared = await self._stored()
            if stored is not None and self._usable(stored, failed):
                return self._keep(stored)
            spare = self._spare(stored, failed)
            if self._breaker_open():
                if spare is not None:
                    return spare
                raise self._tripped()
            if not shared or await self._lease():
                # Whoever held the lease before may have renewed it after our first look.
                stored, shared = await self._stored()
                if stored is not None and self._usable(stored, failed):
                    return self._keep(stored)
                try:
                    return self._keep(await self._fetch(stored, failed, shared=shared))
                except TokenTrouble:
                    if spare is not None:
                        return spare
                    raise
            if spare is not None:
                return spare
            await self._sleep(_POLL_SECONDS)
        raise TokenTrouble(TokenReason.BUSY, "Another process is renewing the access token and has not finished.")

    def _usable(self, token: StoredToken, failed: StoredToken | None) -> bool:
        if failed is not None and not _replaces(token, failed):
            return False
        return token.expires_at - self._clock() > RENEW_SECONDS

    def _spare(self, stored: StoredToken | None, failed: StoredToken | None) -> StoredToken | None:
        """Return a token in its last minutes: good enough while a new one is not to be had, unless it was refused."""
        token = stored or self._token
        if token is None or token.expires_at <= self._clock():
            return None
        return token if failed is None or _replaces(token, failed) else None

    def _keep(self, token: StoredToken) -> StoredToken:
        self._token = token
        self._trouble = None
        return token

    def _breaker_open(self) -> bool:
        return len(self._fetches) == MAX_FETCHES and self._clock() - self._fetches[0] < BREAKER_SECONDS

    def _tripped(self) -> TokenTrouble:
        last = self._trouble
        if last is not None:
            return TokenTrouble(last.reason_code, last.sentence, last.errcode)
        return TokenTrouble(
            TokenReason.BREAKER_OPEN,
            f"WeChat gave {MAX_FETCHES} access tokens within {BREAKER_SECONDS:.0f} s and refused them; waiting before "
            "the next. Another system may be replacing this account's tokens.",
        )

    async def _stored(self) -> tuple[StoredToken | None, bool]:
        """Return what the store has, and whether the store answered."""
        try:
            return await self._store.get(self._appid), True
        except Exception as error:
            self._log_store(error)
            return self._token, False

    async def _lease(self) -> bool:
        try:
            return await self._store.lease(self._appid, self._holder, LEASE_SECONDS)
        except Exception as error:
            # Without the lease two processes may both fetch: in normal mode WeChat gives them the same token.
            self._log_store(error)
            return True

    def _log_store(self, error: Exception) -> None:
        _log.warning("the token store failed; this process manages its access token alone", error=type(error).__name__)

    async def _fetch(self, stored: StoredToken | None, failed: StoredToken | None, *, shared: bool) -> StoredToken:
        seen = max(stored.version if stored else 0, failed.version if failed and not shared else 0)
        value, lifetime = await self._ask()
        expires_at = self._clock() + lifetime
        if shared:
            try:
                return await self._store.put(self._appid, value, expires_at, seen)
            except Exception as error:
                self._log_store(error)
        return StoredToken(value, seen + 1, expires_at)

    async def _ask(self) -> tuple[str, float]:
        """Ask WeChat, twice when the first try fails in passing, and never past the breaker."""
        while True:
            self._fetches.append(self._clock())
            request = {
                "grant_type": "client_credential",
                "appid": self._appid,
                "secret": self._secret,
                "force_refresh": False,
            }
            answer = await self._http.call("POST", self._url, body=encode(request))
            token = read_token(answer, self._secret)
            if not isinstance(token, TokenTrouble):
                return token
            self._trouble = token
            if token.reason_code not in _PASSING or self._breaker_open():
                raise token


def _replaces(token: StoredToken, failed: StoredToken) -> bool:
    # The value counts too: a store that was emptied starts its versions again.
    return token.version > failed.version or token.value != failed.value


_PASSING: Final = frozenset({TokenReason.NETWORK, TokenReason.BUSY})
