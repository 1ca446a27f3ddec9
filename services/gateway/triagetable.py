"""What the live rules of each account call an entry, read from ``rules_live`` every half second (autoreply writes it).

While MongoDB is away the last known tables go on. A table that cannot be compiled changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import msgspec

from chassis import logs
from chassis.mongo import Database, PyMongoError, timed
from chassis.textindex import PatternError, TextIndex
from contracts.errors import Unavailable
from contracts.text import CONTAINS, EXACT, PREFIX, REGEX, Keyword, Texts
from contracts.triage import EntryTable
from services.gateway.triage import Patterns

log = logs.get(__name__)

POLL_SECONDS = 0.5


class TriageTable:
    def __init__(self, database: Database) -> None:
        self._live: Any = database["rules_live"]
        self._at: dict[str, tuple[int, int]] = {}
        self._entry: dict[str, EntryTable] = {}
        self._texts: dict[str, Texts] = {}
        self._away = False

    def get(self, account: str) -> Texts | None:
        return self._texts.get(account)

    async def refresh(self) -> None:
        """Take in what was published. Raises ``Unavailable``."""
        with timed("find"):
            heads = await self._live.find({}, {"revision": 1, "version": 1}).to_list(None)
        at = {head["_id"]: (head["revision"], head["version"]) for head in heads}
        for gone in self._at.keys() - at.keys():
            self._entry.pop(gone, None)
            self._texts.pop(gone, None)
            del self._at[gone]
        changed = [account for account in at if self._at.get(account) != at[account]]
        if not changed:
            return
        with timed("find"):
            found = await self._live.find({"_id": {"$in": changed}}, {"entry": 1}).to_list(None)
        for document in found:
            await self._take(document["_id"], document.get("entry") or {})
        self._at |= {account: at[account] for account in changed}

    async def keep(self) -> None:
        """Refresh for ever."""
        while True:
            try:
                await self.refresh()
                self._away = False
            except (Unavailable, PyMongoError) as error:
                if not self._away:
                    log.warning("entry tables not refreshed, the last known ones go on", reason=str(error))
                self._away = True
            await asyncio.sleep(POLL_SECONDS)

    async def _take(self, account: str, stored: dict[str, Any]) -> None:
        try:
            table = msgspec.convert(stored, EntryTable)
            if table == self._entry.get(account):
                return
            texts = None if table.empty else await asyncio.to_thread(compiled, table)
        except (msgspec.ValidationError, PatternError) as error:
            log.error("an entry table cannot be used, the one before it stays", account=account, reason=str(error))
            return
        self._entry[account] = table
        if texts is None:
            self._texts.pop(account, None)
        else:
            self._texts[account] = texts
        log.info("entry table in force", account=account, keywords=sum(1 for _ in keywords(table)))


class FilePatterns(Protocol):
    """The patterns of the triage file."""

    def get(self, account: str) -> Patterns: ...


class EntryPatterns:
    """The triage file's patterns and the published table of an account as one; joined anew when either changes."""

    def __init__(self, file: FilePatterns, table: TriageTable) -> None:
        self._file = file
        self._table = table
        self._joined: dict[str, tuple[Patterns, Texts | None, Patterns]] = {}

    def get(self, account: str) -> Patterns:
        file, texts = self._file.get(account), self._table.get(account)
        if texts is None:
            return file
        known = self._joined.get(account)
        if known is None or known[0] is not file or known[1] is not texts:
            known = (file, texts, Patterns(file.entry, texts))
            self._joined[account] = known
        return known[2]


def keywords(table: EntryTable) -> Iterator[Keyword]:
    """The table as an index takes it. All of it has one owner: which rule it was does not matter here."""
    parts: Iterable[tuple[str, tuple[str, ...]]] = (
        (EXACT, table.exact),
        (PREFIX, table.prefix),
        (CONTAINS, table.contains),
        (REGEX, table.regex),
    )
    for matcher, words in parts:
        for word in words:
            yield 0, matcher, word


def compiled(table: EntryTable) -> Texts:
    """Raises ``PatternError``."""
    return TextIndex(keywords(table), strip_punctuation=table.strip_punctuation)
