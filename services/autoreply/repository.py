"""Rule sets in MongoDB: immutable versions, the one that is live, and drafts. The only writer of these collections.

A version is published in two writes: its document (``rulesets``, of which the unique ``_id`` lets one of several
publishers win), then the pointer to it (``rules_live``, moved by compare-and-set of its revision). Every version holds
the revision of the pointer that it is to become. A version of a revision that the pointer has not reached yet was cut
off between the two, and whoever meets it finishes what its publisher began.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from chassis.mongo import DESCENDING, Database, DuplicateKeyError, ReturnDocument, timed

T = TypeVar("T")

RULESETS = "rulesets"
LIVE = "rules_live"
DRAFTS = "rule_drafts"
MOVES = 100
"""Changes of what is live that are kept beside the pointer; the audit log has all of them."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable version: the text as its author wrote it, and where it came from."""

    account: str
    version: int
    text: str
    digest: str
    by: str
    at: datetime
    note: str = ""
    base: int = 0
    """The version that was live when its author began; 0 for none."""
    revision: int
    """The revision of the live pointer that publishing it made."""
    rules: int = 0
    entry: dict[str, Any] = {}
    """Its entry patterns (``contracts.triage.EntryTable``), which a rollback makes live again with it."""
    media: tuple[str, ...] = ()
    """Names of the media library that its answers use: the courier keeps these ready."""


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One change of what is live: a version published, or an older one brought back."""

    version: int
    previous: int
    by: str
    at: datetime
    note: str = ""
    rolled_back: bool = False


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """Which version is in force, since when and through whom."""

    account: str
    version: int
    digest: str
    by: str
    at: datetime
    revision: int
    note: str = ""
    previous: int = 0
    rolled_back: bool = False
    entry: dict[str, Any] = {}
    media: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()
    """What was live since when, the latest last; only where one account is looked at."""
    file: str = ""
    """Digest of the rule file that was last taken in, so that an unchanged file does not undo what came after it."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody works on. ``etag`` changes with every save."""

    account: str
    text: str
    etag: str
    by: str
    at: datetime
    base: int = 0


class Taken(Exception):
    """Somebody else was first: the version number, the pointer or the draft is not what it was any more."""


class RuleRepository:
    """Every call raises ``Unavailable`` when MongoDB is away."""

    def __init__(self, database: Database) -> None:
        self._versions = database[RULESETS]
        self._live = database[LIVE]
        self._drafts = database[DRAFTS]

    async def prepare(self) -> None:
        """The index by which the newest version of an account is found."""
        with timed("create_index"):
            await self._versions.create_index([("account", 1), ("version", DESCENDING)], name="account_version")

    # -- versions --

    async def version(self, account: str, number: int) -> Version | None:
        with timed("find"):
            document = await self._versions.find_one({"_id": f"{account}|{number}"})
        return _typed(document, Version) if document else None

    async def newest(self, account: str) -> Version | None:
        """The version with the highest number, live or not."""
        with timed("find"):
            document = await self._versions.find_one({"account": account}, sort=[("version", DESCENDING)])
        return _typed(document, Version) if document else None

    async def versions(self, account: str, *, below: int | None = None, limit: int = 50) -> list[Version]:
        """Newest first and without their texts."""
        query: dict[str, Any] = {"account": account}
        if below is not None:
            query["version"] = {"$lt": below}
        with timed("find"):
            found = self._versions.find(query, {"text": 0, "entry": 0}).sort("version", DESCENDING).limit(limit)
            documents = await found.to_list(limit)
        return [_typed({**document, "text": ""}, Version) for document in documents]

    async def between(self, account: str, after: int, to: int) -> list[Version]:
        """The versions from the one after ``after`` up to ``to``, without their texts."""
        with timed("find"):
            found = self._versions.find(
                {"account": account, "version": {"$gt": after, "$lte": to}}, {"text": 0, "entry": 0}
            )
            documents = await found.sort("version", 1).to_list(None)
        return [_typed({**document, "text": ""}, Version) for document in documents]

    async def add(self, version: Version) -> None:
        """Raises ``Taken`` when there is a version of that number."""
        document = _plain(version) | {"_id": f"{version.account}|{version.version}"}
        with timed("insert"):
            try:
                await self._versions.insert_one(document)
            except DuplicateKeyError:
                raise Taken(f"version {version.version}") from None

    # -- the live one --

    async def all_live(self) -> list[Live]:
        with timed("find"):
            documents = await self._live.find({}, {"moves": 0}).to_list(None)
        return [_live(document) for document in documents]

    async def live(self, account: str) -> Live | None:
        with timed("find"):
            document = await self._live.find_one({"_id": account})
        return _live(document) if document else None

    async def move(self, live: Live) -> Live:
        """Move the pointer from the revision before this one to this. Raises ``Taken`` when it is elsewhere.

        A pointer that is this already counts as moved: the one who finishes what another began comes too late.
        """
        fields = _plain(live)
        del fields["account"], fields["moves"]
        move = {name: fields[name] for name in Move.__struct_fields__}
        if not live.file:
            del fields["file"]
        with timed("find_and_modify"):
            try:
                document = await self._live.find_one_and_update(
                    {"_id": live.account, "revision": live.revision - 1},
                    {"$set": fields, "$push": {"moves": {"$each": [move], "$slice": -MOVES}}},
                    upsert=live.revision == 1,
                    return_document=ReturnDocument.AFTER,
                )
            except DuplicateKeyError:
                document = None
        if document is None:
            now = await self.live(live.account)
            if now is None or (now.revision, now.version) != (live.revision, live.version):
                raise Taken(f"revision {live.revision}")
            return now
        return _live(document)

    async def repaired(self, account: str) -> Live | None:
        """The live pointer; a version whose publisher was killed before it moved the pointer is made live first."""
        live, newest = await self.live(account), await self.newest(account)
        if newest is None or (live is not None and newest.revision <= live.revision):
            return live
        try:
            return await self.move(going_live(newest, live))
        except Taken:
            return await self.live(account)

    async def remember_file(self, account: str, digest: str) -> None:
        """Note that the rule file of this digest was taken in, though it made no new version."""
        with timed("update"):
            await self._live.update_one({"_id": account}, {"$set": {"file": digest}})

    # -- drafts --

    async def draft(self, account: str) -> Draft | None:
        with timed("find"):
            document = await self._drafts.find_one({"_id": account})
        return _typed(document | {"account": account}, Draft) if document else None

    async def save_draft(self, draft: Draft, known: str | None) -> None:
        """Save over the draft with the etag ``known`` (None: there is none yet). Raises ``Taken`` when it changed."""
        fields = _plain(draft)
        fields["_id"] = fields.pop("account")
        with timed("replace"):
            try:
                if known is None:
                    await self._drafts.insert_one(fields)
                    return
                result = await self._drafts.replace_one({"_id": draft.account, "etag": known}, fields)
            except DuplicateKeyError:
                raise Taken("draft") from None
        if not result.matched_count:
            raise Taken("draft")

    async def drop_draft(self, account: str, known: str | None = None) -> bool:
        """Throw the draft away; with an etag only that one. False when there was none."""
        with timed("delete"):
            result = await self._drafts.delete_one({"_id": account} | ({"etag": known} if known else {}))
        return bool(result.deleted_count)


def going_live(version: Version, before: Live | None, *, file: str = "") -> Live:
    """The live pointer that publishing this version makes."""
    return Live(
        account=version.account,
        version=version.version,
        digest=version.digest,
        by=version.by,
        at=version.at,
        revision=version.revision,
        note=version.note,
        previous=before.version if before else 0,
        entry=version.entry,
        media=version.media,
        file=file,
    )


def now() -> datetime:
    """The time as MongoDB keeps it: milliseconds."""
    at = datetime.now(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _live(document: Mapping[str, Any]) -> Live:
    return _typed({**document, "account": document["_id"]}, Live)


def _plain(value: Version | Live | Draft) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}


def _typed(document: Mapping[str, Any], kind: type[T]) -> T:
    return msgspec.convert({name: value for name, value in document.items() if name != "_id"}, kind, strict=False)
