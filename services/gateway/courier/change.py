"""Read, decide, write, all or nothing: how couriers on several machines change one document together.

The decision is a pure function of the document; the write holds only if nobody else has written meanwhile, else it is
decided anew on what is there now.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, TypeVar

from chassis.mongo import DuplicateKeyError, timed
from contracts.errors import Unavailable

R = TypeVar("R")

TRIES = 50
_VERSION = "version"

Document = dict[str, Any]


async def change(collection: Any, key: str, decide: Callable[[Document], tuple[Document | None, R]]) -> R:
    """Change the document with this ``_id`` and return what ``decide`` said beside it.

    ``decide`` gets the document (empty when there is none) and returns the new one, or None to leave it as it is; it
    may be called several times. Raises ``Unavailable`` when MongoDB is away.
    """
    for attempt in range(TRIES):
        with timed("find"):
            found = await collection.find_one({"_id": key}) or {}
        version = found.get(_VERSION, 0)
        new, result = decide(found)
        if new is None or await _write(collection, key, {**new, "_id": key, _VERSION: version + 1}, version):
            return result
        await asyncio.sleep(random.uniform(0, 0.002 * (attempt + 1)))  # noqa: S311 - jitter is no secret
    raise Unavailable("mongodb", f"{TRIES} tries to change a document that others change as well")


async def _write(collection: Any, key: str, new: Document, version: int) -> bool:
    if version == 0:
        try:
            with timed("insert"):
                await collection.insert_one(new)
        except DuplicateKeyError:
            return False
        return True
    with timed("replace"):
        result = await collection.replace_one({"_id": key, _VERSION: version}, new)
    return bool(result.matched_count)
