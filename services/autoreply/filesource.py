"""Rule files: a way to publish. A file that changed is published as the next version by ``file``.

A file speaks once, when its text changes: what is published or rolled back afterwards stays until it changes again.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from chassis import logs, metrics
from chassis.mongo import PyMongoError
from contracts.errors import Unavailable
from services.autoreply.publishing import Conflict, Publishing
from services.autoreply.repository import RuleRepository
from services.autoreply.rulefile import RuleFileError, digest

log = logs.get(__name__)

POLL_SECONDS = 0.5
AUTHOR = "file"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class RuleFiles:
    """The files ``<account>.yaml`` of a directory."""

    def __init__(self, directory: Path, repository: RuleRepository, publishing: Publishing) -> None:
        self._directory = directory
        self._repository = repository
        self._publishing = publishing
        self._seen: dict[str, tuple[int, int]] = {}
        self.refused: dict[str, str] = {}
        """Account to reason, for files that are refused right now."""

    async def look(self) -> None:
        """Publish what changed. Raises ``Unavailable``; what could not be published then is looked at again."""
        files = {path.stem: path for path in self._directory.glob("*.yaml") if NAME.fullmatch(path.stem)}
        for gone in self._seen.keys() - files.keys():
            del self._seen[gone]
            self.refused.pop(gone, None)
        for account, path in files.items():
            await self._look_at(account, path)
        metrics.rule_files_refused.set(len(self.refused))

    async def keep(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.look()
            except (Unavailable, PyMongoError, Conflict) as error:
                log.warning("rule files not published yet", reason=str(error))
            await asyncio.sleep(POLL_SECONDS)

    async def _look_at(self, account: str, path: Path) -> None:
        stamp = (0, 0)
        try:
            stat = path.stat()  # noqa: ASYNC240  # of a file of some kilobytes, once a second
            stamp = (stat.st_mtime_ns, stat.st_size)
            if self._seen.get(account) == stamp:
                return
            text = await asyncio.to_thread(path.read_text, encoding="utf-8")
            await self._publish(account, path.name, text)
        except FileNotFoundError:  # gone since it was listed; the next look settles it
            return
        except (OSError, UnicodeDecodeError, RuleFileError) as error:
            self.refused[account] = str(error)
            log.error("rule file refused, the old rules stay", file=path.name, reason=str(error))
        else:
            self.refused.pop(account, None)
        self._seen[account] = stamp

    async def _publish(self, account: str, name: str, text: str) -> None:
        known = digest(text)
        live = await self._repository.repaired(account)
        if live is not None and live.file == known:
            return
        done = await self._publishing.publish(account, text, by=AUTHOR, note=f"rule file {name}", file=known)
        if not done.new:
            await self._repository.remember_file(account, known)
