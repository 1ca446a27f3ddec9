"""Conversations between a follower and a person. Owner of the collection ``conversations``.

A conversation goes waiting -> assigned -> closed, and from assigned back to waiting when its agent gives it up. A
follower has at most one that is open in each account: a unique index over the open ones sees to that, whatever comes at
the same moment. ``causes`` holds the events that are in it, so that none is in it twice. ``revision`` grows with every
change of state; ``changed`` is the database's own time of the last change of any kind, for those who follow from afar.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec

from chassis.conversing import ASSIGNED, CLOSED, COLLECTION, WAITING
from chassis.mongo import ASCENDING, DESCENDING, Database, DuplicateKeyError, ReturnDocument, timed
from contracts.errors import Retry
from contracts.facts import Handover

Document = dict[str, Any]

STATES = (WAITING, ASSIGNED, CLOSED)
MAX_QUESTIONS = 50
"""Questions that a conversation shows; the whole thread is history's to keep."""
MAX_CAUSES = 500
"""Events that a conversation remembers as its own. A redelivery comes within minutes."""
MAX_LIST_MILLISECONDS = 2500
_TRIES = 10


@dataclass(frozen=True)
class Question:
    """What a follower asked: ``cause`` is the id of the event, ``at`` when it happened."""

    account: str
    openid: str
    cause: str
    at: datetime
    handover: Handover


@dataclass(frozen=True)
class Opened:
    """Where a question ended up; ``new`` when it is the one that opened this conversation."""

    conversation: Document
    new: bool


class Stale(Exception):
    """The conversation is not as the caller thinks; ``found`` is what it is now, None when there is none."""

    def __init__(self, found: Document | None) -> None:
        super().__init__("the conversation has changed")
        self.found = found


def conversation_id(account: str, cause: str) -> str:
    """The id of the conversation that an event opens: always the same one, and without the openid in it."""
    return blake2b(f"{account}|{cause}".encode(), digest_size=12).hexdigest()


class Conversations:
    """Every call raises ``Unavailable`` when MongoDB is away."""

    def __init__(self, database: Database) -> None:
        self._collection: Any = database[COLLECTION]

    async def prepare(self) -> None:
        with timed("create_index"):
            await self._collection.create_index(
                [("account", ASCENDING), ("openid", ASCENDING)],
                name="one_open",
                unique=True,
                partialFilterExpression={"open": True},
            )
            await self._collection.create_index([("account", ASCENDING), ("openid", ASCENDING), ("causes", ASCENDING)])
            await self._collection.create_index("changed")
            await self._collection.create_index(
                [("state", ASCENDING), ("priority", DESCENDING), ("since", ASCENDING), ("_id", ASCENDING)]
            )

    async def ask(self, question: Question) -> Opened:
        """Bring a question to a person: into the follower's open conversation, else into a new one. Once."""
        for _ in range(_TRIES):
            if found := await self.join(question):
                return Opened(found, found["_id"] == conversation_id(question.account, question.cause))
            if found := await self._open(question):
                return Opened(found, new=True)
        raise Retry("contended", "the follower's conversation is opened and closed under our hands again and again")

    async def join(self, question: Question) -> Document | None:
        """Add a question to the follower's open conversation; None when there is none, and it is in no closed one."""
        mine = {"account": question.account, "openid": question.openid}
        change = {
            "$push": {
                "questions": {"$each": [_shown(question)], "$slice": -MAX_QUESTIONS},
                "causes": {"$each": [question.cause], "$slice": -MAX_CAUSES},
            },
            "$inc": {"unread": 1},
            "$max": {"priority": question.handover.priority, "last_message_at": question.at},
            "$currentDate": {"changed": True},
        }
        with timed("find_and_modify"):
            found: Document | None = await self._collection.find_one_and_update(
                {**mine, "open": True, "causes": {"$ne": question.cause}},
                change,
                return_document=ReturnDocument.AFTER,
            )
        if found is None:
            with timed("find"):
                found = await self._collection.find_one({**mine, "causes": question.cause})
        return found

    async def _open(self, question: Question) -> Document | None:
        order = question.handover
        name = conversation_id(question.account, question.cause)
        document = {
            "account": question.account,
            "openid": question.openid,
            "open": True,
            "state": WAITING,
            "skill": order.skill,
            "priority": order.priority,
            "reason": order.reason,
            "since": question.at,
            "opened_at": question.at,
            "last_message_at": question.at,
            "unread": 1,
            "questions": [_shown(question)],
            "causes": [question.cause],
            "revision": 1,
        }
        try:
            with timed("find_and_modify"):
                found: Document = await self._collection.find_one_and_update(
                    {"_id": name},
                    {"$setOnInsert": document, "$currentDate": {"changed": True}},
                    upsert=True,
                    return_document=ReturnDocument.AFTER,
                )
        except DuplicateKeyError:  # another question of theirs was quicker: this one joins it
            return None
        return found

    async def get(self, name: str) -> Document | None:
        with timed("find"):
            found: Document | None = await self._collection.find_one({"_id": name})
        return found

    async def newest(
        self, accounts: list[str] | None, state: str, after: tuple[int, datetime, str] | None, limit: int
    ) -> list[Document]:
        """Conversations in one state, the most urgent first and the oldest first among equals.

        ``accounts`` limits them, None does not; ``after`` is the place of the one to go on after.
        """
        wanted: Document = {"state": state}
        if accounts is not None:
            wanted["account"] = {"$in": accounts}
        if after:
            priority, since, name = after
            wanted["$or"] = [
                {"priority": {"$lt": priority}},
                {"priority": priority, "since": {"$gt": since}},
                {"priority": priority, "since": since, "_id": {"$gt": name}},
            ]
        order = [("priority", DESCENDING), ("since", ASCENDING), ("_id", ASCENDING)]
        with timed("find"):
            found: list[Document] = (
                await self._collection.find(wanted, {"causes": 0})
                .sort(order)
                .limit(limit)
                .max_time_ms(MAX_LIST_MILLISECONDS)
                .to_list(limit)
            )
        return found

    async def take(self, name: str, agent: str, revision: int | None) -> Document:
        """Assign a waiting conversation. To take what one has already changes nothing. Raises ``Stale``."""
        change = {
            "$set": {"state": ASSIGNED, "agent": agent, "unread": 0},
            "$currentDate": {"changed": True, "assigned_at": True},
        }
        return await self._step(name, {"state": WAITING}, change, revision, done={"state": ASSIGNED, "agent": agent})

    async def release(self, name: str, agent: str, revision: int | None, *, anybodys: bool) -> Document:
        """Give a conversation back to the queue, to its old place in it. Raises ``Stale``."""
        mine = {"state": ASSIGNED, **({} if anybodys else {"agent": agent})}
        change = {
            "$set": {"state": WAITING},
            "$unset": {"agent": "", "assigned_at": ""},
            "$currentDate": {"changed": True},
        }
        return await self._step(name, mine, change, revision, done={"state": WAITING})

    async def close(self, name: str, agent: str, revision: int | None, *, anybodys: bool) -> Document:
        """End a conversation: from now on the machine answers again. Raises ``Stale``."""
        mine = {"state": ASSIGNED, "agent": agent}
        wanted = {"open": True} if anybodys else {"$or": [{"state": WAITING}, mine]}
        change = {
            "$set": {"state": CLOSED, "closed_by": agent},
            "$unset": {"open": ""},
            "$currentDate": {"changed": True, "closed_at": True},
        }
        return await self._step(name, wanted, change, revision, done={"state": CLOSED})

    async def _step(
        self, name: str, wanted: Document, change: Document, revision: int | None, *, done: Document
    ) -> Document:
        """One compare-and-set of the state. What is ``done`` already is not done again, and no error."""
        seen = {} if revision is None else {"revision": revision}
        with timed("find_and_modify"):
            found: Document | None = await self._collection.find_one_and_update(
                {"_id": name, **wanted, **seen},
                {**change, "$inc": {"revision": 1}},
                return_document=ReturnDocument.AFTER,
            )
        if found:
            return found
        now = await self.get(name)
        if now and all(now.get(field) == value for field, value in done.items()):
            return now
        raise Stale(now)

    async def spoke(self, name: str, agent: str) -> Document | None:
        """The conversation, if ``agent`` has it: what came so far is read, since it is being answered."""
        with timed("find_and_modify"):
            found: Document | None = await self._collection.find_one_and_update(
                {"_id": name, "state": ASSIGNED, "agent": agent},
                {"$set": {"unread": 0}, "$currentDate": {"changed": True}},
                return_document=ReturnDocument.AFTER,
            )
        return found

    async def keep_draft(self, name: str, cause: str, draft: Document) -> Document | None:
        """Keep a draft with an open conversation, in place of an older question's; the conversation, or None."""
        with timed("find_and_modify"):
            found: Document | None = await self._collection.find_one_and_update(
                {"_id": name, "open": True, "causes": cause, "draft.cause": {"$ne": cause}},
                {"$set": {"draft": draft}, "$currentDate": {"changed": True}},
                return_document=ReturnDocument.AFTER,
            )
        return found

    async def draft_sent(self, name: str, cause: str) -> None:
        """The draft of this question has been ordered to be sent."""
        with timed("update"):
            await self._collection.update_one(
                {"_id": name, "draft.cause": cause},
                {"$set": {"draft.sent": True}, "$currentDate": {"changed": True}},
            )

    async def forget(self, account: str, openid: str) -> None:
        """Delete all conversations of a follower whose data must go."""
        with timed("delete"):
            await self._collection.delete_many({"account": account, "openid": openid})

    async def count(self, state: str) -> int:
        with timed("count"):
            counted: int = await self._collection.count_documents({"state": state}, maxTimeMS=MAX_LIST_MILLISECONDS)
        return counted


def _shown(question: Question) -> Document:
    shown = msgspec.to_builtins(question.handover)
    kept = {field: shown[field] for field in ("reason", "text", "candidates") if shown.get(field)}
    return {"cause": question.cause, "at": question.at, **kept}
