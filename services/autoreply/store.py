"""The rules in force: one file per account, looked at every second. A bad file is refused and the old rules stay."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from chassis import logs, metrics
from services.autoreply.rulefile import RuleFileError, read
from services.autoreply.ruleset import RuleSet

log = logs.get(__name__)

POLL_SECONDS = 1.0


class RuleStore:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: dict[str, tuple[int, int]] = {}
        self._rules: dict[str, RuleSet] = {}
        self.refused: dict[str, str] = {}
        """Account to reason, for files that are refused right now."""

    def get(self, account: str) -> RuleSet | None:
        return self._rules.get(account)

    def refresh(self) -> None:
        """Read what changed. A file that is gone takes its rules with it; one that is bad changes nothing."""
        files = {path.stem: path for path in self._directory.glob("*.yaml")}
        for account in self._rules.keys() - files.keys():
            log.info("rules removed", account=account)
            del self._rules[account]
        for gone in self._seen.keys() - files.keys():
            del self._seen[gone]
            self.refused.pop(gone, None)
        for account, path in files.items():
            self._refresh_one(account, path)
        metrics.rules_loaded.set(sum(rules.size for rules in self._rules.values()))
        metrics.rules_refused.set(len(self.refused))

    def _refresh_one(self, account: str, path: Path) -> None:
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if self._seen.get(account) == stamp:
                return
            self._seen[account] = stamp
            rules = read(path.read_text(encoding="utf-8"))
        except FileNotFoundError:  # gone since it was listed; the next look settles it
            self._seen.pop(account, None)
            return
        except (OSError, UnicodeDecodeError, RuleFileError) as error:
            self.refused[account] = str(error)
            log.error("rule file refused, the old rules stay", file=path.name, reason=str(error))
            return
        self.refused.pop(account, None)
        self._rules[account] = rules
        metrics.rules_reload_timestamp.set(time.time())
        log.info("rules in force", account=account, version=rules.version, rules=rules.size)

    async def keep(self) -> None:
        """Refresh for ever."""
        while True:
            self.refresh()
            await asyncio.sleep(POLL_SECONDS)
