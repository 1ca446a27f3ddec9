"""One try to send: allowed, permitted, called; and what WeChat's answer means for this send and for the account."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chassis import logs, metrics
from chassis.wechat.outcome import Outcome
from chassis.wechat.stable_token import TokenReason, TokenTrouble
from contracts import topology
from contracts.content import Content
from contracts.envelope import Event
from contracts.errcodes import CODES, Fate, explain
from contracts.errors import Later, Retry
from contracts.facts import Send, Window
from services.gateway.accounts import Account
from services.gateway.courier import budget
from services.gateway.courier.allowance import Share
from services.gateway.courier.allowances import Allowances
from services.gateway.courier.clock import Clock
from services.gateway.courier.lines import Line, Lines
from services.gateway.courier.rates import PACE_SECONDS, Paused, Rates
from services.gateway.courier.uploads import NoMedia, Uploads
from services.gateway.ledger import Claim, Ledger

log = logs.get(__name__)

CALLS = {"urgent": 32, "reply": 32, "bulk": 16}
"""Calls of WeChat at a time, by class, for each account."""

HELD_SECONDS = 5.0
"""How long a command waits on the bus while another process has its claim, or the account's line is full."""

PATIENCE_SECONDS = 5.0
"""How long a command waits in this process for each of its turn, a permit and a free call: less than a claim lasts."""

STALE_SECONDS = 0.5
"""A permit older than this is not used: the account may have been paused, or the moment's speed be used up."""

SILENCE = "No answer came from WeChat: it may have arrived. It is not repeated by itself."
EXPIRED = "expired: its time was over before it could be sent"
GAVE_UP = f"WeChat was busy or out of reach at each of {topology.MAX_ATTEMPTS} tries."
NOT_ASKED = "(The history service could not be asked for a newer act of theirs.)"

_API = "custom/send"
_BAD_MEDIA_ID = 40007
_CLOSES = (Fate.OTHER_ROAD, Fate.FOLLOWER_GONE)
"""After these the follower gets nothing more until they act again."""


class FollowerActs(Protocol):
    """Who remembers what a follower did last."""

    async def windows(self, account: str, openid: str) -> list[Window] | None: ...


@dataclass
class Job:
    """A command that this process has claimed."""

    kind: str
    event: Event
    send: Send
    account: Account
    claim: Claim
    taken: bool = False
    """Whether it has its share of the follower's allowance."""

    @property
    def share(self) -> Share:
        return Share(self.claim.key, self.claim.fence)


@dataclass(frozen=True)
class Ending:
    """How a send ended: ``state`` is one of the ledger's settled ones."""

    state: str
    errcode: int | None = None
    reason: str = ""


class ClaimLost(Later):
    """Our claim ran out and somebody else took the command on: it is theirs in everything."""


class Attempts:
    """Makes tries. A try either ends the send or raises, and when it raises, nothing has reached the follower."""

    def __init__(
        self,
        ledger: Ledger,
        allowances: Allowances,
        rates: Rates,
        lines: Lines,
        acts: FollowerActs,
        clock: Clock,
        uploads: Uploads,
    ) -> None:
        self._ledger = ledger
        self._allowances = allowances
        self._rates = rates
        self._lines = lines
        self._acts = acts
        self._clock = clock
        self._uploads = uploads
        self._gates: dict[tuple[str, str, float], _Gate] = {}

    def turn(self, kind: str, account: Account) -> AbstractAsyncContextManager[None]:
        """A place among those that this process has under way; to be held around everything about one command.

        Raises ``Later`` when none gets free for long: the command waits on the bus, where it is in nobody's way.
        """
        return _held(self._gate(kind, account).turns)

    async def make(self, job: Job) -> Ending:
        """Try once. Raises ``Later``, ``Retry`` and ``Unavailable``."""
        if _expired(job.send, self._clock()):
            return Ending("failed", reason=EXPIRED)
        if refusal := await self._allowed(job):
            return Ending("failed", reason=refusal)
        try:
            line = await self._line(job)
            try:
                content = await self._uploads.resolve(job.account, job.send.content)
            except NoMedia as error:
                return Ending("failed", reason=str(error))
            except Retry as error:
                if job.event.attempt + 1 < topology.MAX_ATTEMPTS:
                    raise
                return Ending("failed", reason=str(error))
            permitted = await self._permit(job)
            async with _held(self._gate(job.kind, job.account).calls):
                while asyncio.get_running_loop().time() - permitted > STALE_SECONDS:
                    permitted = await self._permit(job)
                if _expired(job.send, self._clock()):
                    return Ending("failed", reason=EXPIRED)
                answer = await self._call(job, line, content)
        except Paused as pause:
            raise Later(pause.reason, pause.seconds) from pause
        if answer.errcode == _BAD_MEDIA_ID and await self._renewed(job, content):
            raise Retry("media_renewed", "WeChat did not know the media's id any more; it has a new one")
        return await self._ending(job, answer)

    async def _renewed(self, job: Job, content: Content) -> bool:
        """Whether the content's file has another id now, so that one more try is worth it."""
        if job.event.attempt + 1 >= topology.MAX_ATTEMPTS:
            return False
        try:
            return await self._uploads.renew(job.account, content)
        except NoMedia:
            return False

    async def _allowed(self, job: Job) -> str:
        """Take the send's share of the follower's allowance; why not, in words, or empty."""
        account, openid = job.event.account, job.event.subject
        windows = [job.send.window] if job.send.window else []
        refusal = await self._allowances.take(account, openid, job.share, windows)
        if refusal:
            # Who gave the command may not have known of the follower's last act.
            acts = await self._acts.windows(account, openid)
            if acts is None:
                refusal = f"{refusal} {NOT_ASKED}"
            elif acts:
                refusal = await self._allowances.take(account, openid, job.share, [*windows, *acts])
        job.taken = not refusal
        return refusal

    def _gate(self, kind: str, account: Account) -> _Gate:
        key = (account.name, kind, account.sends_per_second)
        gate = self._gates.get(key)
        if gate is None:
            calls = CALLS[kind]
            # Beyond those who call, two blocks of permits may wait: enough to fill the line, too few for a burst.
            ahead = math.ceil(2 * PACE_SECONDS * account.sends_per_second)
            gate = self._gates[key] = _Gate(asyncio.Semaphore(calls + ahead), asyncio.Semaphore(calls))
        return gate

    async def _permit(self, job: Job) -> float:
        """A permit to send; when it was given, by the loop's clock."""
        async with _patience():
            await self._rates.permit(job.account, job.kind)
        return asyncio.get_running_loop().time()

    async def _line(self, job: Job) -> Line:
        """The account's line, with a valid token at hand: fetching one must not happen inside the call."""
        line = self._lines.to(job.account)
        try:
            await line.tokens.current()
        except TokenTrouble as trouble:
            log.error("no access token", account=job.account.name, what=trouble.sentence, errcode=trouble.errcode)
            match trouble.reason_code:
                case TokenReason.QUOTA:
                    reason = budget.QUOTA
                case TokenReason.NETWORK | TokenReason.BUSY:
                    reason = budget.UNREACHABLE
                case _:
                    reason = budget.TOKEN
            raise await self._pause(job, reason) from trouble
        return line

    async def _call(self, job: Job, line: Line, content: Content) -> Outcome:
        self._rates.go_on()
        if not await self._ledger.sending(job.claim):
            raise ClaimLost("claim_lost", HELD_SECONDS)
        try:
            answer = await line.api.custom_send(job.event.subject, content)
        except Exception:  # a bug of ours, and nobody can tell how far the call had got
            log.exception("the call failed in our own code", send=job.claim.key)
            answer = Outcome(fate=Fate.UNKNOWN)
        metrics.api_requests.labels(_API, _result(answer)).inc()
        metrics.api_seconds.labels(_API).observe(answer.seconds)
        return answer

    async def _ending(self, job: Job, answer: Outcome) -> Ending:
        errcode = answer.errcode
        if answer.token_trouble:
            log.error(
                "WeChat refuses the account's access token; run `weir accounts check`",
                account=job.account.name,
                errcode=errcode,
                what=answer.errmsg,
            )
            raise await self._pause(job, budget.QUOTA if answer.fate is Fate.WAIT_MIDNIGHT else budget.TOKEN)
        match answer.fate:
            case Fate.OK:
                return Ending("sent", errcode)
            case Fate.UNKNOWN:
                return Ending("unknown", errcode, f"{SILENCE} ({answer.errmsg})" if answer.errmsg else SILENCE)
            case Fate.BACK_OFF:
                raise await self._pause(job, budget.THROTTLED)
            case Fate.WAIT_MIDNIGHT:
                raise await self._pause(job, budget.QUOTA)
            case Fate.RETRY if job.event.attempt + 1 < topology.MAX_ATTEMPTS:
                raise Retry("wechat_busy" if errcode == -1 else "not_sent", answer.errmsg)
            case Fate.RETRY:
                # Whoever waits for it must hear of it: a dead letter would tell only the operator.
                return Ending("failed", errcode, GAVE_UP)
        if answer.fate in _CLOSES:
            await self._allowances.spend(job.event.account, job.event.subject)
        return Ending("failed", errcode, _words(answer))

    async def _pause(self, job: Job, reason: str) -> Later:
        """Pause the account for every process; what to raise so that this command waits as well."""
        seconds = await self._rates.pause(job.account.name, reason)
        return Later(f"paused_{reason}", seconds)


@dataclass(frozen=True)
class _Gate:
    """What bounds an account's calls of one class in this process."""

    turns: asyncio.Semaphore
    calls: asyncio.Semaphore


@asynccontextmanager
async def _held(places: asyncio.Semaphore) -> AsyncIterator[None]:
    async with _patience():
        await places.acquire()
    try:
        yield
    finally:
        places.release()


@asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    """Wait here for a while, then rather on the bus, where it is in nobody's way."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield
    except TimeoutError as error:
        raise Later("no_permit", HELD_SECONDS) from error


def _expired(send: Send, now: datetime) -> bool:
    return send.expires is not None and now >= send.expires


def _words(answer: Outcome) -> str:
    if answer.errcode is None:
        return answer.errmsg
    words = explain(answer.errcode)
    return words if answer.errcode in CODES or not answer.errmsg else f"{words} WeChat's words: {answer.errmsg}"


def _result(answer: Outcome) -> str:
    """The class of result, as the metric has it."""
    if answer.token_trouble:
        return "auth"
    match answer.fate:
        case Fate.OK:
            return "ok"
        case Fate.BACK_OFF | Fate.RETRY:
            return "throttled"
        case Fate.WAIT_MIDNIGHT:
            return "quota"
        case Fate.OTHER_ROAD | Fate.FOLLOWER_GONE:
            return "user_window"
        case Fate.UNKNOWN:
            return "unknown"
        case _:
            return "error"
