"""Pushing callbacks to an account's server: 5 seconds, three tries, and what becomes of the answer."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Literal

import aiohttp
import msgspec
from yarl import URL

from sandbox.accounts import Account
from sandbox.crypto import sign
from sandbox.followers import Entry, Follower
from sandbox.inbound import Inbound
from sandbox.reply import BadReplyError, read_reply
from sandbox.wire import Wire, prepare, query
from sandbox.world import World

SYSTEM_LINE = "该公众号暂时无法提供服务，请稍后再试"
REPLY_LIMIT = 5.0  # seconds from the first byte to the last of an answer
TRIES = 3  # in all
RETRY_PAUSE = 1.0  # seconds after a try that failed at once, so that three tries do not fit into a restart's blink
MAX_ANSWER = 256 * 1024  # bytes
HOLD = 1.0  # seconds a callback waits at most for another one to overtake it

log = logging.getLogger("sandbox")


class Outcome(msgspec.Struct, frozen=True):
    """How a callback ended: `passive` (something shown), `success` (nothing to show) or `failed` (the reason why)."""

    answer: Literal["passive", "success", "failed"]
    tries: int
    took_ms: float
    reason: str | None = None


class _TryError(Exception):
    """One try that brought no answer; `reason` is what is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Pusher:
    """Pushes callbacks over kept-alive connections. `start` before use, `close` after."""

    def __init__(self, world: World, *, reply_limit: float = REPLY_LIMIT, retry_pause: float = RETRY_PAUSE) -> None:
        self._world = world
        self._reply_limit = reply_limit
        self._retry_pause = retry_pause
        self._session: aiohttp.ClientSession | None = None
        self._held: dict[str, list[asyncio.Event]] = {}

    async def start(self) -> None:
        # 10 s is shorter than the 15 s a sensible server keeps a silent connection, so that the server seldom closes
        # one in the very moment in which it is used again.
        connector = aiohttp.TCPConnector(limit=2000, keepalive_timeout=10)
        self._session = aiohttp.ClientSession(
            connector=connector, headers={"User-Agent": "Mozilla/4.0"}, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def push(self, account: Account, follower: Follower, inbound: Inbound) -> Outcome:
        """Push one callback to its end, show what it brings, and say how it went.

        Never raises for anything the server does.
        """
        account.counters.callbacks += 1
        dice = self._world.faults.for_account(account.name)
        start = time.perf_counter()
        if delay := dice.callback_delay():
            await asyncio.sleep(delay)
        if dice.out_of_order():
            await self._hold(account.name)
        if self._world.clock.now() < account.mark_fail.paused_until:
            account.counters.failure("mark_fail")
            outcome = self._failed(account, follower, inbound, 0, start, "mark_fail")
        else:
            outcome = await self._push(account, follower, inbound, start, duplicate=dice.duplicate())
            failed = outcome.answer == "failed"
            if account.mark_fail.note(failed=failed, enabled=dice.faults.mark_fail, now=self._world.clock.now()):
                log.warning("pushes paused for a minute after repeated failures", extra={"account": account.name})
        for waiting in self._held.pop(account.name, ()):
            waiting.set()
        return outcome

    async def _push(
        self, account: Account, follower: Follower, inbound: Inbound, start: float, *, duplicate: bool
    ) -> Outcome:
        wire = prepare(account.config, inbound)
        if not duplicate:
            return await self._with_tries(account, follower, inbound, wire, self._signed(account, inbound, wire), start)
        account.counters.duplicates += 1
        signed = self._signed(account, inbound, wire)
        main, _ = await asyncio.gather(
            self._with_tries(account, follower, inbound, wire, signed, start),
            self._once_more(account, follower, inbound, wire, signed, start),
        )
        return main

    async def _with_tries(
        self, account: Account, follower: Follower, inbound: Inbound, wire: Wire, signed: URL, start: float
    ) -> Outcome:
        reason = ""
        for number in range(1, TRIES + 1):
            began = time.perf_counter()
            try:
                body = await self._post(account, wire, signed)
                return self._answered(account, follower, inbound, body, number, start)
            except BadReplyError as error:
                # It did answer, so it is not asked again: the follower is told at once.
                account.counters.failure("malformed")
                return self._failed(account, follower, inbound, number, start, f"malformed: {error}")
            except _TryError as error:
                reason = error.reason
                account.counters.failure(reason)
            if number < TRIES:
                spent = time.perf_counter() - began
                if spent < self._reply_limit and self._retry_pause > 0:
                    await asyncio.sleep(self._retry_pause)
                signed = self._signed(account, inbound, wire)
        return self._failed(account, follower, inbound, TRIES, start, reason)

    async def _once_more(
        self, account: Account, follower: Follower, inbound: Inbound, wire: Wire, signed: URL, start: float
    ) -> None:
        """The same callback again beside the first: only a reply that it brings is visible."""
        try:
            body = await self._post(account, wire, signed)
            reply = self._read(account, inbound, body)
        except (BadReplyError, _TryError):
            account.counters.failure("duplicate")
            return
        if reply is not None:
            self._show(follower, inbound, reply, start)

    async def _post(self, account: Account, wire: Wire, signed: URL) -> bytes:
        """One try. Raises _TryError when no answer with status 200 came in time."""
        assert self._session is not None, "Pusher.start was not awaited"
        account.counters.tries += 1
        headers = {"Content-Type": wire.content_type}
        timeout = aiohttp.ClientTimeout(total=self._reply_limit)
        try:
            async with self._session.post(
                signed, data=wire.body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                body = await response.read()
                status = response.status
        except TimeoutError as error:
            raise _TryError("timeout") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _TryError("connection") from error
        if status != 200:
            raise _TryError(f"status {status}")
        return body

    def _answered(
        self, account: Account, follower: Follower, inbound: Inbound, body: bytes, number: int, start: float
    ) -> Outcome:
        reply = self._read(account, inbound, body)
        took = _millis(start)
        if reply is None:
            account.counters.success += 1
            return Outcome("success", number, took)
        account.counters.passive += 1
        self._show(follower, inbound, reply, start)
        return Outcome("passive", number, took)

    def _read(self, account: Account, inbound: Inbound, body: bytes) -> Entry | None:
        if len(body) > MAX_ANSWER:
            raise BadReplyError(f"the answer is longer than {MAX_ANSWER} bytes")
        return read_reply(account, body, inbound.sender, self._world.clock.now(), to_message=not inbound.is_event)

    def _failed(
        self, account: Account, follower: Follower, inbound: Inbound, tries: int, start: float, reason: str
    ) -> Outcome:
        account.counters.failed += 1
        self._show(follower, inbound, {"type": "system", "content": SYSTEM_LINE}, start, via="system")
        return Outcome("failed", tries, _millis(start), reason)

    def _show(self, follower: Follower, inbound: Inbound, reply: Entry, start: float, *, via: str = "passive") -> None:
        if not inbound.shown_on_phone or not follower.following:
            return
        follower.typing_until = 0.0
        answered = {"msgid": inbound.msgid, "event": inbound.label if inbound.is_event else None}
        self._world.show(follower, {"via": via, **reply, **answered, "took_ms": _millis(start)})

    def _signed(self, account: Account, inbound: Inbound, wire: Wire) -> URL:
        """The callback's URL, freshly signed: each retry has its own timestamp and nonce, a duplicate has not."""
        timestamp = str(int(self._world.clock.wall()))
        nonce = str(self._world.dice.randint(10**8, 2 * 10**9))
        parts = query(account.config, inbound.sender, wire.sealed, timestamp, nonce)
        return URL(account.config.url).update_query(parts)

    async def _hold(self, account: str) -> None:
        """Wait until another callback of the account has gone its way, at most a second."""
        overtaken = asyncio.Event()
        self._held.setdefault(account, []).append(overtaken)
        try:
            async with asyncio.timeout(HOLD):
                await overtaken.wait()
        except TimeoutError:
            pass

    async def verify(self, account: Account) -> dict[str, object]:
        """The console's check of the URL: GET with an echostr that must come back. Says in words how it went."""
        assert self._session is not None, "Pusher.start was not awaited"
        timestamp, nonce = str(int(self._world.clock.wall())), str(self._world.dice.randint(10**8, 2 * 10**9))
        echo = str(self._world.dice.randint(10**18, 9 * 10**18))
        parts: Mapping[str, str] = {
            "signature": sign(account.config.token, timestamp, nonce),
            "timestamp": timestamp,
            "nonce": nonce,
            "echostr": echo,
        }
        url = URL(account.config.url).update_query(parts)
        try:
            timeout = aiohttp.ClientTimeout(total=self._reply_limit)
            async with self._session.get(url, timeout=timeout, allow_redirects=False) as response:
                status, body = response.status, await response.text(errors="replace")
        except TimeoutError:
            return {"ok": False, "detail": f"no answer within {self._reply_limit:g} s"}
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return {"ok": False, "detail": f"the server cannot be reached: {error}"}
        return _verdict(status, body, echo)


def _verdict(status: int, body: str, echo: str) -> dict[str, object]:
    if status == 403:
        detail = "the server answered 403: most likely its token is not the one set here"
    elif status == 404:
        detail = "the server answered 404: does the URL's path name an account that it knows?"
    elif status != 200:
        detail = f"the server answered {status}, not 200"
    elif body != echo:
        detail = f"the answer is not the echostr alone; it begins {body[:40]!r}"
    else:
        return {"ok": True, "detail": "the server accepted the signature and gave the echostr back"}
    return {"ok": False, "detail": detail}


def _millis(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 1)
