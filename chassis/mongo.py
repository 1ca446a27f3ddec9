"""MongoDB: one client with time-outs that fail fast, and errors with a fate. The only user of motor and pymongo.

Motor runs its calls on a thread pool; the pool is sized so that calls which hang on a dead server cannot use it up
within their time-outs. A write whose answer was lost may have happened all the same: only deterministic ``_id``s and
upserts are safe, and that is what repositories use.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Motor reads this at import; its default (5 a core) is used up by a handful of stalled calls.
os.environ.setdefault("MOTOR_MAX_WORKERS", "32")

from gridfs.errors import CorruptGridFile, NoFile
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorGridFSBucket  # after its setting
from pymongo import ASCENDING, DESCENDING, ReturnDocument, UpdateOne
from pymongo.errors import (
    BulkWriteError,
    CollectionInvalid,
    ConfigurationError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from chassis import logs, metrics
from contracts.errors import SettingsError, Unavailable

__all__ = [
    "ASCENDING",
    "DESCENDING",
    "BulkWriteError",
    "CorruptGridFile",
    "Database",
    "DuplicateKeyError",
    "NoFile",
    "PyMongoError",
    "ReturnDocument",
    "UpdateOne",
    "bucket",
    "connect",
    "ensure_clustered",
    "insert_new",
    "timed",
    "until_reachable",
]

log = logs.get(__name__)

Database = Any
"""Motor is untyped; repositories give their results types."""

DUPLICATE_KEY = 11000
CODE_NAMESPACE_EXISTS = 48


def connect(url: str, database: str, *, name: str) -> tuple[Any, Database]:
    """A client and its database. Nothing is connected before the first call; each call fails within 3 s.

    Raises ``SettingsError`` when the address cannot be one.
    """
    try:
        client = _client(url, name)
    except (ConfigurationError, ValueError) as error:
        raise SettingsError(f"WEIR_MONGODB_URL cannot be used: {logs.scrub(str(error))}") from None
    return client, client[database]


def _client(url: str, name: str) -> Any:
    return AsyncIOMotorClient(
        url,
        appname=name,
        tz_aware=True,
        serverSelectionTimeoutMS=1500,
        connectTimeoutMS=1000,
        socketTimeoutMS=3000,
        # As many as there are threads: with fewer, a busy pool starves a thread and its call seems unavailable.
        maxPoolSize=int(os.environ["MOTOR_MAX_WORKERS"]),
        waitQueueTimeoutMS=500,
        w=1,
        journal=True,
    )


def bucket(database: Database, name: str) -> Any:
    """The files of this name in GridFS: larger than a document may be, read and written in pieces."""
    return AsyncIOMotorGridFSBucket(database, bucket_name=name)


@contextmanager
def timed(command: str) -> Iterator[None]:
    """Measure a command, and turn "the server is away" into ``Unavailable``: the consumer waits, nothing is lost."""
    started = time.perf_counter()
    result = "ok"
    try:
        yield
    except (ConnectionFailure, ServerSelectionTimeoutError, ExecutionTimeout) as error:
        result = "unavailable"
        raise Unavailable("mongodb", logs.scrub(repr(error))[:300]) from error
    except OperationFailure as error:
        result = "error"
        if _passing(error):
            raise Unavailable("mongodb", logs.scrub(repr(error))[:300]) from error
        raise
    finally:
        metrics.store_seconds.labels(command, result).observe(time.perf_counter() - started)


def _passing(error: OperationFailure) -> bool:
    """Not the caller's fault: an election, a shutdown, a node that starts, a user without rights (18, 13)."""
    return error.has_error_label("RetryableWriteError") or error.code in _PASSING


_PASSING = frozenset({13, 18, 91, 189, 11600, 11602, 10107, 13435, 13436})


async def insert_new(collection: Any, documents: list[dict[str, Any]]) -> tuple[int, int]:
    """Insert those documents whose ``_id`` is not there yet; (new, known). Raises ``Unavailable``, ``PyMongoError``."""
    if not documents:
        return 0, 0
    with timed("insert_many"):
        try:
            await collection.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            others = [e for e in error.details["writeErrors"] if e["code"] != DUPLICATE_KEY]
            if error.details.get("writeConcernErrors") or any(e["code"] in _PASSING for e in others):
                # A node that steps down or stops: they may be written, and writing them again does no harm.
                raise Unavailable("mongodb", logs.scrub(repr(error))[:300]) from error
            if others:
                raise
            known = len(error.details["writeErrors"])
            return len(documents) - known, known
    return len(documents), 0


async def ensure_clustered(database: Database, name: str) -> Any:
    """A collection stored in ``_id`` order (MongoDB 5.3 and later: one tree less to write), made once."""
    with timed("create"):
        try:
            await database.create_collection(name, clusteredIndex={"key": {"_id": 1}, "unique": True})
        except CollectionInvalid:
            pass
        except OperationFailure as error:
            if error.code != CODE_NAMESPACE_EXISTS:
                raise
    return database[name]


async def until_reachable(prepare: Callable[[], Awaitable[object]], *, pause: float = 0.5) -> None:
    """Await a step of preparation (indexes), again and again until MongoDB answers."""
    while True:
        try:
            await prepare()
            return
        except (Unavailable, PyMongoError) as error:
            log.warning("mongodb is not reachable", error=repr(error))
            await asyncio.sleep(pause)
