"""The entry patterns of each account, from a YAML file looked at every second; a bad file changes nothing.

accounts:
  demo:
    entry: ["^#抽奖", "^参加"]
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import msgspec
import yaml

from chassis import logs
from services.gateway.triage import NO_PATTERNS, Patterns

log = logs.get(__name__)

POLL_SECONDS = 1.0


class _Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    entry: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    accounts: dict[str, _Account] = {}


class TriageFileError(Exception):
    """The file cannot be used; the text says where and why."""


def read(text: str) -> dict[str, Patterns]:
    """The patterns by account. Raises ``TriageFileError``."""
    try:
        file = msgspec.convert(yaml.safe_load(text) or {}, _File)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise TriageFileError(f"line {line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, msgspec.ValidationError, ValueError) as error:  # ValueError: a date that is none
        raise TriageFileError(str(error)) from None
    except RecursionError:
        raise TriageFileError("an alias stands inside of what it stands for") from None
    return {name: Patterns(tuple(_compiled(name, p) for p in account.entry)) for name, account in file.accounts.items()}


def _compiled(account: str, pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise TriageFileError(f"accounts.{account}.entry: {pattern!r} is no regular expression: {error}") from None
    if compiled.search(""):
        raise TriageFileError(f"accounts.{account}.entry: {pattern!r} matches every text; all would become entries")
    return compiled


class TriageFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._patterns: dict[str, Patterns] = {}

    def get(self, account: str) -> Patterns:
        return self._patterns.get(account, NO_PATTERNS)

    def refresh(self) -> None:
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._patterns = read(self._path.read_text(encoding="utf-8"))
            log.info("triage patterns in force", accounts=len(self._patterns))
        except FileNotFoundError:
            self._patterns, self._stamp = {}, None
        except (OSError, UnicodeDecodeError, TriageFileError) as error:
            log.error("triage file refused, the old patterns stay", file=self._path.name, reason=str(error))

    async def keep(self) -> None:
        """Refresh for ever."""
        while True:
            self.refresh()
            await asyncio.sleep(POLL_SECONDS)
