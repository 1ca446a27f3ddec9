"""Was everything that was accepted stored exactly once, and every reply with it?

The measurement looks into the database itself, past every program of ours. The collection `messages` holds
one document a message: `direction` `in` or `out`, `_id` the event's id, `cause` the id of what it answers.
The id of a message from a follower is `account|openid|MsgId|CreateTime`.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient

from bench.account import NAME, Numbers
from bench.load import Load

DATABASE = "weir"
COLLECTION = "messages"

#: The drain is over when all is there and nothing new came for `SETTLED` seconds, when nothing new came
#: for `QUIET` seconds although something is missing, or after `DRAIN_LIMIT`.
SETTLED = 0.5
QUIET = 8.0
DRAIN_LIMIT = 120.0


@dataclass(frozen=True)
class Storage:
    """What the database held of one load, or of several."""

    inbound: int  # documents of messages from followers
    outbound: int  # documents of replies to them
    lost: int  # accepted messages that are not there
    doubled: int  # messages stored more than once
    unrecorded_replies: int  # replies that were given and are not there
    doubled_replies: int  # messages with more than one reply
    invented: int  # stored messages that were never sent
    examples: tuple[str, ...] = ()  # some MsgIds of what went wrong

    def __add__(self, other: "Storage") -> "Storage":
        """Both loads together."""
        return Storage(
            inbound=self.inbound + other.inbound,
            outbound=self.outbound + other.outbound,
            lost=self.lost + other.lost,
            doubled=self.doubled + other.doubled,
            unrecorded_replies=self.unrecorded_replies + other.unrecorded_replies,
            doubled_replies=self.doubled_replies + other.doubled_replies,
            invented=self.invented + other.invented,
            examples=self.examples + other.examples,
        )

    @property
    def exactly_once(self) -> bool:
        """Nothing lost, nothing doubled, nothing invented."""
        return not (self.lost or self.doubled or self.unrecorded_replies or self.doubled_replies or self.invented)


def check(load: Load, inbound: Iterable[str], causes: Iterable[str]) -> Storage:
    """Hold what was stored against what was sent.

    `inbound` are the ids of the stored messages, `causes` the `cause` of each stored reply; both may hold
    those of other loads. A callback that was refused or got no answer may be stored or not, and it is not
    known which ones they were: as many as that may be missing.
    """
    stored = Counter(_numbered(inbound, load.numbers))
    replies = Counter(_numbered(causes, load.numbers))
    sent = range(load.numbers.first + 1, load.numbers.first + load.sent + 1)
    missing = [number for number in sent if number not in stored]
    unreplied = [number for number in stored if number not in replies]
    doubled = [number for number, times in stored.items() if times > 1]
    doubled_replies = [number for number, times in replies.items() if times > 1]
    invented = [number for number in stored.keys() | replies.keys() if number not in sent]
    uncertain = load.unanswered + load.refused
    lost = max(0, len(missing) - uncertain)
    unrecorded = max(0, load.answered - len(replies))
    wrong = [
        *(missing if lost else ()),
        *doubled,
        *(unreplied if unrecorded else ()),
        *doubled_replies,
        *invented,
    ]
    return Storage(
        inbound=stored.total(),
        outbound=replies.total(),
        lost=lost,
        doubled=len(doubled),
        unrecorded_replies=unrecorded,
        doubled_replies=len(doubled_replies),
        invented=len(invented),
        examples=tuple(str(number) for number in wrong[:5]),
    )


def _numbered(ids: Iterable[str], numbers: Numbers) -> Iterable[int]:
    """The MsgIds among these event ids that belong to this load."""
    for event_id in ids:
        number = message_number(event_id)
        if number is not None and number in numbers:
            yield number


def message_number(event_id: str) -> int | None:
    """The MsgId inside the event id of a message, None when it is the id of something else."""
    parts = event_id.split("|")
    return int(parts[2]) if len(parts) == 4 and parts[2].isdecimal() else None


class Store:
    """Weir's database, looked at from outside."""

    def __init__(self, url: str) -> None:
        client: MongoClient[dict[str, Any]] = MongoClient(url, serverSelectionTimeoutMS=10_000)
        self._client = client
        self._messages = client[DATABASE][COLLECTION]
        self._known = self.size()

    def close(self) -> None:
        self._client.close()

    def size(self) -> int:
        """Messages stored so far, both directions. Costs the database nothing."""
        return self._messages.estimated_document_count()

    def wait_for_load(self, load: Load) -> float:
        """Wait until a load's messages and replies are stored, or no more come.

        Returns the seconds until the last one came. The store must have been quiet before that load.
        """
        return self._wait_until(self._known + 2 * load.answered + load.empty + load.other)

    def _wait_until(self, expected: int) -> float:
        began = grown_at = time.monotonic()
        size = self.size()
        while grown_at - began < DRAIN_LIMIT:
            # Late replies may follow what is expected, so the store must be quiet for a moment in any case.
            if time.monotonic() - grown_at > (SETTLED if size >= expected else QUIET):
                break
            time.sleep(0.05)
            last, size = size, self.size()
            if size != last:
                grown_at = time.monotonic()
        self._known = size
        return grown_at - began

    def check(self, load: Load) -> Storage:
        """Read what this load left behind and hold it against what was sent."""
        return check(load, self._all({"direction": "in"}, "_id"), self._all({"direction": "out"}, "cause"))

    def _all(self, query: Mapping[str, Any], field: str) -> Iterable[str]:
        found = self._messages.find({"account": NAME, **query}, {field: 1}, batch_size=20_000)
        return (str(document.get(field, "")) for document in found)
