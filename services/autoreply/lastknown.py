"""The rules that were last in force, on disk: what a process starts with while MongoDB is away.

They are a copy, never a source: as soon as MongoDB answers, what it says goes.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from chassis import logs

log = logs.get(__name__)


class Known(msgspec.Struct, frozen=True):
    account: str
    version: int
    revision: int
    text: str


class LastKnown:
    """One file per account in a directory of its own; a disk that takes nothing costs the copy and no more."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, known: Known) -> None:
        path = self._directory / f"{known.account}.json"
        fresh = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(msgspec.json.encode(known))
            fresh.replace(path)  # several processes of one machine write it; each leaves it whole
        except OSError as error:
            log.warning("the last known rules are not kept on disk", account=known.account, reason=str(error))
            with contextlib.suppress(OSError):
                fresh.unlink()

    def all(self) -> list[Known]:
        found = []
        for path in sorted(self._directory.glob("*.json")):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=Known))
            except (OSError, msgspec.DecodeError) as error:
                log.warning("a copy of the last known rules cannot be read", file=path.name, reason=str(error))
        return found
