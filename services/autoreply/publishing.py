"""Publishing rule sets: checked, numbered, refused when it would undo another operator's work; and the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from hashlib import blake2b

from chassis import metrics
from services.autoreply import repository
from services.autoreply.compiling import Checked, check, shown
from services.autoreply.difference import Difference, between
from services.autoreply.repository import Draft, Live, RuleRepository, Taken, Version, going_live
from services.autoreply.rulefile import digest

Tell = Callable[[Live], Awaitable[object]]
"""Coroutine function that lets the bus know what went live."""

MAX_TEXT = 8 * 1024 * 1024
"""Bytes of a rule set's text: with it a version stays below the 16 MiB that MongoDB lets a document have."""
TRIES = 3


class Conflict(Exception):
    """Another operator's version came in between: who, when, and what differs from it."""

    def __init__(self, live: Live, difference: Difference, detail: str) -> None:
        super().__init__(detail)
        self.live = live
        self.difference = difference
        self.detail = detail


class Unknown(Exception):
    """There is no such version or draft; the text says which and what to do."""


class Published:
    """What publishing led to. ``new`` is False when the same text is live already."""

    def __init__(self, live: Live, *, new: bool) -> None:
        self.live = live
        self.new = new


MediaNames = Callable[[str], Awaitable[Collection[str]]]
"""The names in an account's media library."""


class Publishing:
    """Raises ``RuleFileError`` for rules that cannot be used, ``Conflict``, ``Unavailable`` when MongoDB is away."""

    def __init__(self, repository: RuleRepository, tell: Tell, media: MediaNames | None = None) -> None:
        self._media = media
        self._repository = repository
        self._tell = tell

    async def check(self, account: str, text: str, now: datetime | None) -> Checked:
        """What the lint says of a text, with the account's media library. Raises ``RuleFileError``, ``Unavailable``."""
        names = await self._media(account) if self._media else None
        return await asyncio.to_thread(check, text, now, names)

    async def publish(
        self, account: str, text: str, *, by: str, note: str = "", base: int | None = None, file: str = ""
    ) -> Published:
        """Make this text the next version and the live one.

        ``base`` is the version that was live when its author began (0: none was); without one the author takes
        whatever is live as known. ``file``: the digest of the rule file that it comes from.
        """
        # What is published now must not be over already; a file on the disk may stay there longer than its dates.
        checked = await self.check(account, text, None if file else repository.now())
        for _ in range(TRIES):
            live = await self._repository.repaired(account)
            if live is not None and live.digest == digest(text):
                return Published(live, new=False)
            if live is not None and base is not None and base != live.version:
                raise await self._conflict(live, base, text)
            try:
                moved = await self._advance(account, live, checked, text, by=by, note=note, file=file)
            except Taken:
                if base is None:
                    base = live.version if live else 0
                continue
            metrics.rules_published.labels("published").inc()
            await self._tell(moved)
            return Published(moved, new=True)
        live = await self._repository.repaired(account)
        assert live is not None  # somebody took the number
        raise Conflict(
            live, await self._against(live, text), "others publish at this very moment; look at theirs first"
        )

    async def rollback(self, account: str, number: int, *, by: str, note: str = "") -> Published:
        """Make an older version the live one again. Raises ``Unknown``."""
        version = await self._repository.version(account, number)
        if version is None:
            raise Unknown(f"there is no version {number} of {account}; GET /api/rules/{account}/versions lists them")
        for _ in range(TRIES):
            live = await self._repository.repaired(account)
            if live is not None and live.version == number:
                return Published(live, new=False)
            target = Live(
                account=account,
                version=number,
                digest=version.digest,
                by=by,
                at=repository.now(),
                revision=live.revision + 1 if live else 1,
                note=note,
                previous=live.version if live else 0,
                rolled_back=True,
                entry=version.entry,
                media=version.media,
            )
            try:
                moved = await self._repository.move(target)
            except Taken:
                continue
            metrics.rules_published.labels("rolled_back").inc()
            await self._tell(moved)
            return Published(moved, new=True)
        live = await self._repository.repaired(account)
        assert live is not None
        raise Conflict(live, Difference(), "others publish at this very moment; look at theirs first")

    async def save_draft(self, account: str, text: str, *, by: str, base: int, known: str | None) -> Draft:
        """Keep what somebody works on; it need not be right yet. Raises ``Taken`` when the draft has changed since."""
        at = repository.now()
        etag = blake2b(f"{text}|{by}|{at.isoformat()}".encode(), digest_size=8).hexdigest()
        draft = Draft(account=account, text=text, etag=etag, by=by, at=at, base=base)
        await self._repository.save_draft(draft, known)
        return draft

    async def _advance(
        self, account: str, live: Live | None, checked: Checked, text: str, *, by: str, note: str, file: str
    ) -> Live:
        newest = await self._repository.newest(account)
        revision = live.revision + 1 if live else 1
        if newest is not None and newest.revision >= revision:
            # Somebody published since we looked: a version of ours would stand there and never be live.
            raise Taken(f"revision {revision}")
        version = Version(
            account=account,
            version=newest.version + 1 if newest else 1,
            text=text,
            digest=digest(text),
            by=by,
            at=repository.now(),
            note=note,
            base=live.version if live else 0,
            revision=revision,
            rules=checked.size,
            entry=checked.entry,
            media=checked.media,
        )
        await self._repository.add(version)
        return await self._repository.move(going_live(version, live, file=file))

    async def _conflict(self, live: Live, base: int, text: str) -> Conflict:
        """Somebody published, or rolled back, since ``base`` was live."""
        detail = (
            f"version {live.version} is live since {live.at:%Y-%m-%d %H:%M:%S} UTC, by {live.by}; yours began from "
            f"version {base}: bring both together and publish with base {live.version}"
        )
        return Conflict(live, await self._against(live, text), detail)

    async def _against(self, live: Live, text: str) -> Difference:
        version = await self._repository.version(live.account, live.version)
        assert version is not None
        names = (f"{live.account} version {live.version}", "yours")
        return await asyncio.to_thread(difference_of, version.text, text, names)


def difference_of(before: str, after: str, names: tuple[str, str]) -> Difference:
    """What differs between two texts that passed the lint. Raises ``RuleFileError``."""
    return between(shown(before), shown(after), (before, after), names)
