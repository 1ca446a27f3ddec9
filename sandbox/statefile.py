"""The state on disk: written whole to a neighbour file and renamed, so that no crash leaves half of one."""

import asyncio
import contextlib
import logging
import os
import time
from pathlib import Path

import msgspec

from sandbox.world import World

SAVE_EVERY = 3.0  # seconds
REST = 20  # a save that took long is followed by a rest this many times as long, so a crowd is not held up

log = logging.getLogger("sandbox")


class StateFileError(Exception):
    """A state file that cannot be read; the text says which and what to do."""


def load(world: World, path: Path) -> None:
    """Take over the state of a file, if there is one. Raises StateFileError when it cannot be read."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateFileError(f"{path}: {error.strerror}") from error
    try:
        world.restore(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateFileError(f"{path} is no state of this sandbox ({error}); move it away to start empty") from error


def save(raw: bytes, path: Path) -> None:
    """Write a snapshot, readable by its owner alone: it holds the accounts' secrets."""
    beside = path.with_name(f"{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


async def keep_saving(world: World, path: Path) -> None:
    """Save every few seconds until the world closes. The last save is the caller's, when all is quiet."""
    took = 0.0
    while not world.closing.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(SAVE_EVERY, took * REST)):
                await world.closing.wait()
        began = time.perf_counter()
        await save_changes(world, path)
        took = time.perf_counter() - began


async def save_changes(world: World, path: Path) -> None:
    """Save if something has changed since the last time; a disk that refuses is logged and tried again later."""
    if not world.dirty:
        return
    world.dirty = False
    try:
        await asyncio.to_thread(save, world.snapshot(), path)
    except OSError as error:
        world.dirty = True
        log.error("the state could not be saved", extra={"error": str(error)})
