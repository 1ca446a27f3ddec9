"""A small client of an OpenAI-compatible endpoint (``/chat/completions``). Off unless an address is set.

What it writes is a help and never a need: a call that fails, is late or would cost too much gives None, says why in a
metric, and raises nothing. Tokens are reserved before a call and settled after it, in MongoDB, so that the day's cap
holds over all processes; of a call whose outcome is unknown the whole reservation counts as used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import aiohttp
import msgspec

from chassis import logs, metrics
from chassis.mongo import Database, DuplicateKeyError, PyMongoError, ReturnDocument, timed
from chassis.settings import Settings
from contracts.errors import Unavailable

log = logs.get(__name__)

COLLECTION = "llm_usage"
"""Owned by the agent service. ``_id`` is the day in UTC, ``tokens`` what was used or is reserved of it."""
MAX_ANSWER_TOKENS = 400
MAX_PROMPT_BYTES = 8000
"""Of one call. No tokenizer makes more tokens than there are bytes, so this is the cap in tokens of a call, too."""
PROMPT_OVERHEAD = 64
"""Tokens that an endpoint adds to the messages to mark where each begins and ends."""
MAX_RESPONSE_BYTES = 64 * 1024


_REFUSALS = {429: "throttled"}
_UNPAID = frozenset({"throttled", "refused", "unreachable"})


class Written(msgspec.Struct, frozen=True):
    """A text that the model wrote, the model's name and the tokens it took."""

    text: str
    model: str
    tokens: int


class Allowance(Protocol):
    """The tokens of a day."""

    async def reserve(self, day: str, tokens: int) -> bool:
        """Take so many, if the day still has them."""
        ...

    async def settle(self, day: str, difference: int) -> None:
        """Take more, or give back what was reserved and not used (a negative difference)."""
        ...


class DailyTokens:
    """The allowance in MongoDB. Every call raises ``Unavailable`` when that is away."""

    def __init__(self, database: Database, cap: int) -> None:
        self._collection: Any = database[COLLECTION]
        self._cap = cap

    async def reserve(self, day: str, tokens: int) -> bool:
        if tokens > self._cap:
            return False
        try:
            with timed("find_and_modify"):
                await self._collection.find_one_and_update(
                    {"_id": day, "tokens": {"$lte": self._cap - tokens}},
                    {"$inc": {"tokens": tokens}},
                    upsert=True,
                    return_document=ReturnDocument.AFTER,
                )
        except DuplicateKeyError:  # the day is there and has too few left; or another process began it just now
            with timed("find_and_modify"):
                found = await self._collection.find_one_and_update(
                    {"_id": day, "tokens": {"$lte": self._cap - tokens}}, {"$inc": {"tokens": tokens}}
                )
            return found is not None
        return True

    async def settle(self, day: str, difference: int) -> None:
        with timed("update"):
            await self._collection.update_one({"_id": day}, {"$inc": {"tokens": difference}})


class _Message(msgspec.Struct):
    content: str


class _Choice(msgspec.Struct):
    message: _Message


class _Usage(msgspec.Struct):
    total_tokens: int = 0


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None
    model: str = ""


class Llm:
    """Make one for each process, inside the running loop, and close it. ``now`` tells the time, for the day's cap."""

    def __init__(
        self, settings: Settings, allowance: Allowance, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._url = settings.llm_url.rstrip("/") + "/chat/completions"
        self._model = settings.llm_model
        self._allowance = allowance
        self._now = now
        self._used_up_on = ""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=settings.llm_timeout),
            headers={"Authorization": f"Bearer {settings.llm_key}"} if settings.llm_key else None,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        await self._session.close()

    async def write(self, system: str, user: str) -> Written | None:
        """What the model answers, or None. ``user`` is cut to what a call may cost; nothing is raised."""
        try:
            result, written = await self._write(system, user)
        except (Unavailable, PyMongoError) as error:
            result, written = "uncounted", None  # what cannot be counted is not spent
            log.warning("no draft: its cost cannot be counted", reason=repr(error))
        metrics.llm_requests.labels(result).inc()
        return written

    async def _write(self, system: str, user: str) -> tuple[str, Written | None]:
        system_bytes = len(system.encode())
        user = user.encode()[: max(0, MAX_PROMPT_BYTES - system_bytes)].decode(errors="ignore")
        reserved = system_bytes + len(user.encode()) + PROMPT_OVERHEAD + MAX_ANSWER_TOKENS
        day = self._now().strftime("%Y-%m-%d")
        if not await self._allowance.reserve(day, reserved):
            if self._used_up_on != day:
                self._used_up_on = day
                log.warning(
                    "no more drafts today: the tokens of the day are used up (WEIR_LLM_DAILY_TOKENS)", needed=reserved
                )
            return "cap", None
        result, answer = await self._ask(system, user)
        if answer is None:
            if result in _UNPAID:  # nothing was made, so nothing is to be paid
                await self._allowance.settle(day, -reserved)
            else:
                metrics.llm_tokens.inc(reserved)
            return result, None
        # An endpoint that does not say what it took is taken to have taken everything.
        tokens = answer.usage.total_tokens if answer.usage and answer.usage.total_tokens > 0 else reserved
        metrics.llm_tokens.inc(tokens)
        await self._allowance.settle(day, tokens - reserved)
        text = answer.choices[0].message.content.strip() if answer.choices else ""
        if not text:
            return "garbage", None
        return "ok", Written(text, answer.model or self._model, tokens)

    async def _ask(self, system: str, user: str) -> tuple[str, _Completion | None]:
        """One call: ``ok`` with the answer, else why there is none."""
        body = {
            "model": self._model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "max_tokens": MAX_ANSWER_TOKENS,
            "temperature": 0.2,
        }
        try:
            async with self._session.post(self._url, json=body, allow_redirects=False) as response:
                if response.status != 200:
                    return _REFUSALS.get(response.status, "refused" if response.status < 500 else "error"), None
                content = await response.content.read(MAX_RESPONSE_BYTES + 1)
                while len(content) <= MAX_RESPONSE_BYTES and not response.content.at_eof():
                    content += await response.content.read(MAX_RESPONSE_BYTES + 1 - len(content))
        except TimeoutError:
            return "timeout", None
        except aiohttp.ClientConnectorError:
            return "unreachable", None
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError):
            return "error", None
        if len(content) > MAX_RESPONSE_BYTES:
            return "garbage", None
        try:
            return "ok", msgspec.json.decode(content, type=_Completion)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return "garbage", None
