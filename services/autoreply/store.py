"""The rules in force: every account's live version, looked for every half second and swapped in whole.

While MongoDB is away the last known rules go on. A version that this process cannot compile (a newer Weir published it)
is refused, and the rules before it stay.
"""

from __future__ import annotations

import asyncio
import time

from chassis import logs, metrics
from chassis.mongo import PyMongoError
from contracts.errors import Unavailable
from services.autoreply.compiling import load
from services.autoreply.lastknown import Known, LastKnown
from services.autoreply.repository import Live, RuleRepository
from services.autoreply.rulefile import RuleFileError
from services.autoreply.ruleset import RuleSet

log = logs.get(__name__)

POLL_SECONDS = 0.5


class RuleStore:
    def __init__(self, repository: RuleRepository, last_known: LastKnown) -> None:
        self._repository = repository
        self._last_known = last_known
        self._rules: dict[str, RuleSet] = {}
        self._at: dict[str, tuple[int, int]] = {}
        """Revision and version of the pointer that was last looked at, taken in or refused."""
        self.refused: dict[str, str] = {}
        """Account to reason, for live versions that cannot be compiled here."""
        self._away = False

    def get(self, account: str) -> RuleSet | None:
        return self._rules.get(account)

    async def start(self) -> None:
        """The rules to begin with: MongoDB's, else the last known ones. Raises ``Unavailable`` when there are none."""
        try:
            await self.refresh()
        except Unavailable:
            for known in await asyncio.to_thread(self._last_known.all):
                await self._take(known, keep=False)
            if not self._rules:
                raise
            log.warning("mongodb is away: starting with the last known rules", accounts=len(self._rules))

    async def refresh(self) -> None:
        """Look at what is live, and take in what changed. Raises ``Unavailable``."""
        live = {one.account: one for one in await self._repository.all_live()}
        for account in self._rules.keys() - live.keys():
            del self._rules[account]
            self._at.pop(account, None)
        for gone in self.refused.keys() - live.keys():
            del self.refused[gone]
        for account, one in live.items():
            if self._at.get(account) != (one.revision, one.version):
                await self._follow(one)
        metrics.rules_loaded.set(sum(rules.size for rules in self._rules.values()))
        metrics.rules_refused.set(len(self.refused))

    async def keep(self) -> None:
        """Refresh for ever."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.refresh()
                self._away = False
            except (Unavailable, PyMongoError) as error:
                if not self._away:
                    log.warning("rules not refreshed, the last known ones go on", reason=str(error))
                self._away = True

    async def _follow(self, live: Live) -> None:
        current = self._rules.get(live.account)
        if current is not None and current.version == str(live.version):
            self._at[live.account] = (live.revision, live.version)
            return
        version = await self._repository.version(live.account, live.version)
        if version is None:
            self._refuse(live.account, live.version, "its document is gone")
            self._at[live.account] = (live.revision, live.version)
            return
        await self._take(Known(live.account, live.version, live.revision, version.text))

    async def _take(self, known: Known, *, keep: bool = True) -> None:
        self._at[known.account] = (known.revision, known.version)
        try:
            # Fifty thousand keywords take seconds; meanwhile the rules before them answer.
            rules = await asyncio.to_thread(load, known.text, str(known.version))
        except RuleFileError as error:
            self._refuse(known.account, known.version, str(error))
            return
        self.refused.pop(known.account, None)
        self._rules[known.account] = rules
        metrics.rules_reload_timestamp.set(time.time())
        log.info("rules in force", account=known.account, version=rules.version, rules=rules.size)
        if keep:
            await asyncio.to_thread(self._last_known.keep, known)

    def _refuse(self, account: str, version: int, reason: str) -> None:
        self.refused[account] = reason
        log.error("published rules refused, the old ones stay", account=account, version=version, reason=reason)
