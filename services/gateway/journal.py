"""The journal: what was accepted while the bus was away, on disk until the bus is back.

Segments of records, each ``length | CRC32 | exchange, routing key and event``. Appends are grouped: while one
fdatasync runs, what comes gathers for the next (about 0.1 ms for all). A segment is deleted when every record in it
is confirmed by the bus. After a kill the last record may be torn: it was never answered 200, so it is left out. A
segment that could not be read to its end is set aside instead of deleted: behind damage in its middle may stand records
that were answered 200.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chassis import logs, metrics

log = logs.get(__name__)

_HEAD = struct.Struct("<II")
_NAME = re.compile(r"[0-9]{12}\.journal")
LOCK = "lock"
DAMAGED = ".damaged"
SEGMENT_BYTES = 8 * 1024 * 1024
MAX_RECORD = 1024 * 1024
_MIN_PAYLOAD = 2


class JournalError(Exception):
    """The record could not be made durable: disk full or broken, or the directory is another process's."""


class Journal:
    """One directory, one process. ``alarm_bytes`` is the size from which ``alarm`` is true."""

    def __init__(self, directory: Path, alarm_bytes: int) -> None:
        self._directory = directory
        self._alarm_bytes = alarm_bytes
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "journal")
        self._file: int | None = None
        self._path: Path | None = None
        self._written = 0
        self._lock: int | None = None
        self.size = 0

    def open(self) -> None:
        """Make the directory, take it, and count what an earlier process left.

        Raises ``JournalError`` when another process has it (it would replay and delete what this one writes), and
        ``OSError`` when it cannot be made.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(
                f"{self._directory} is the journal of a running gateway: give each its own WEIR_JOURNAL_DIR"
            ) from None
        self.size = sum(path.stat().st_size for path in self.segments())
        metrics.journal_bytes.set(self.size)

    @property
    def empty(self) -> bool:
        return self.size == 0 and not self._waiting

    @property
    def alarm(self) -> bool:
        return self.size > self._alarm_bytes

    def segments(self) -> list[Path]:
        """The segments on disk, oldest first."""
        return sorted(path for path in self._directory.glob("*.journal") if _NAME.fullmatch(path.name))

    async def append(self, exchange: str, key: str, event: bytes) -> None:
        """Make one event durable; returns when it is on disk. Raises ``JournalError``."""
        address = f"{exchange}\n{key}".encode()
        payload = struct.pack("<H", len(address)) + address + event
        if len(payload) > MAX_RECORD:
            raise JournalError(f"a record of {len(payload)} bytes is no callback")
        record = _HEAD.pack(len(payload), zlib.crc32(payload)) + payload
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((record, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        await done

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group, self._waiting = self._waiting, []
            data = b"".join(record for record, _ in group)
            try:
                await loop.run_in_executor(self._thread, self._write, data)
            except (OSError, RuntimeError) as error:  # RuntimeError: closed already
                metrics.journal_failures.inc(len(group))
                log.error("the journal cannot be written", error=repr(error))
                for _, done in group:
                    if not done.done():
                        done.set_exception(JournalError(str(error)))
                continue
            self.size += len(data)
            metrics.journal_bytes.set(self.size)
            metrics.journal_records.labels("written").inc(len(group))
            for _, done in group:
                if not done.done():  # whoever waited may have gone
                    done.set_result(None)
        self._writer = None

    def _write(self, data: bytes) -> None:
        """Write and sync, on the journal's own thread. A failed write is cut off again, so no record stays half."""
        if self._file is None:
            self._open_segment()
        assert self._file is not None
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            os.fdatasync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._written)
                if self._written == 0 and self._path:  # a full disk must not fill up with empty files as well
                    self._path.unlink()
            self._close_segment()
            raise
        self._written += len(data)
        if self._written >= SEGMENT_BYTES:
            self._close_segment()

    def _open_segment(self) -> None:
        last = self.segments()
        number = int(last[-1].stem) + 1 if last else 1
        self._path = self._directory / f"{number:012d}.journal"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._written = 0
        # The name must be as durable as what stands under it.
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _close_segment(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = None
        self._path = None

    async def rotate(self) -> list[Path]:
        """Close the segment being written, so that all there are can be replayed; the closed ones, oldest first."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._close_segment)
        paths = self.segments()
        return [path for path in paths if path != self._path]

    def forget(self, path: Path, *, damaged: bool = False) -> None:
        """Delete a segment that is replayed; a damaged one is set aside, for somebody to look at."""
        size = path.stat().st_size
        if damaged:
            aside = path.with_name(f"{path.name}.{time.time_ns()}{DAMAGED}")
            path.rename(aside)
            log.error("a damaged journal segment is set aside; look at it, then delete it", file=aside.name)
        else:
            path.unlink()
        self.size = max(0, self.size - size)
        metrics.journal_bytes.set(self.size)

    async def close(self) -> None:
        while self._writer:
            await asyncio.wait({self._writer})
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close_segment)
        self._thread.shutdown()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Damaged(Exception):
    """The rest of a segment cannot be read: torn by a kill, or broken by the disk."""


def read(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """The records of a segment as (exchange, routing key, event). Raises ``Damaged`` at one that is torn or broken."""
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            payload, length, crc = b"", 0, 0
            if len(head) == _HEAD.size:
                length, crc = _HEAD.unpack(head)
                payload = file.read(length) if length <= MAX_RECORD else b""
            # A length of 0 is no record either: a file system may leave zeros where the last write did not arrive.
            if len(payload) < _MIN_PAYLOAD or len(payload) != length or zlib.crc32(payload) != crc:
                metrics.journal_records.labels("torn").inc()
                log.warning("a torn record ends a journal segment", segment=path.name, offset=file.tell())
                raise Damaged(path.name)
            (size,) = struct.unpack_from("<H", payload)
            exchange, _, key = payload[2 : 2 + size].decode().partition("\n")
            yield exchange, key, payload[2 + size :]
