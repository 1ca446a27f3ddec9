"""The recorder: what comes off the queue ``history``, a whole batch at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from chassis.consumer import Result
from chassis.publisher import Publication, command, direct
from contracts import facts, orders, topology
from contracts.envelope import Event
from contracts.facts import Decision
from services.history.documents import OUTCOMES, Document, fact, inbound, is_inbound, outbound
from services.history.followers import Followers
from services.history.following import Change, change
from services.history.index import Index
from services.history.orphans import another_round, decision_of, is_due
from services.history.outcomes import merge
from services.history.store import Store
from services.history.tagging import TagChange, tag_change

_NOTHING: Result = ()
_WAIT = topology.HISTORY.retry(topology.RUNGS[0][0])


class _Batch:
    """What a batch of events comes to, sorted by where it goes."""

    def __init__(self) -> None:
        self.messages: dict[str, Document] = {}
        self.answers: set[str] = set()
        self.facts: dict[str, Document] = {}
        self.changes: list[Change | TagChange] = []
        self.orphans: list[tuple[int, Event, Decision]] = []
        self.ids: list[str] = []
        """For each event the id it is stored under, empty for one that is not."""

    def sort(self, index: int, event: Event) -> str:
        """Put an event where it belongs; the id it will be stored under. Raises ``Reject``."""
        if is_inbound(event.type):
            document = inbound(event)
            self.messages[document["_id"]] = document
            if following := change(event):
                self.changes.append(following)
        elif event.type in OUTCOMES:
            document = outbound(event)
            name = document["_id"]
            known = self.messages.get(name)
            self.messages[name] = merge(known, document) if known else document
            self.answers.add(name)
        elif event.type == facts.REPLY_ORPHANED:
            self.orphans.append((index, event, decision_of(event)))
            return ""
        else:
            document = fact(event)
            if tagging := tag_change(event):
                self.changes.append(tagging)
            self.facts[document["_id"]] = document
        return str(document["_id"])


class Recorder:
    """Stores every fact, once. Publishes nothing but what an orphaned answer needs."""

    def __init__(self, store: Store, followers: Followers, index: Index, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._followers = followers
        self._index = index
        self._clock = clock

    async def handle(self, events: list[Event]) -> list[Result]:
        """Store a batch: one write for its messages, and one for each other thing that is in it."""
        results: list[Result] = [_NOTHING] * len(events)
        batch = _Batch()
        for index, event in enumerate(events):
            try:
                batch.ids.append(batch.sort(index, event))
            except Exception as error:  # the consumer decides what becomes of this one
                batch.ids.append("")
                results[index] = error
        failed = await self._write(batch)
        if failed:
            for index, name in enumerate(batch.ids):
                if name in failed:
                    results[index] = failed[name]
        if batch.orphans:
            await self._care_for(batch.orphans, results)
        return results

    async def _write(self, batch: _Batch) -> dict[str, Exception]:
        store = self._store
        known, failed = await store.add(store.messages, list(batch.messages.values()))
        if known and batch.answers:
            failed |= await store.merge_outcomes([batch.messages[name] for name in batch.answers])
            await self._index.late([batch.messages[name] for name in batch.answers], changed=True)
        if batch.messages:
            # After they are stored: a message that this does not note was there before its time came for the index.
            await self._index.late(list(batch.messages.values()))
        if batch.facts:
            failed |= (await store.add(store.facts, list(batch.facts.values())))[1]
        if batch.changes:
            await self._followers.apply(batch.changes)
        return failed

    async def _care_for(self, orphans: list[tuple[int, Event, Decision]], results: list[Result]) -> None:
        now = self._clock()
        due = [orphan for orphan in orphans if is_due(orphan[1], now)]
        given = await self._store.known([decision.id for _, _, decision in due]) if due else set()
        for index, event, decision in orphans:
            results[index] = self._care(event, decision, given, now)

    def _care(self, event: Event, decision: Decision, given: set[str], now: datetime) -> list[Publication]:
        if not is_due(event, now):
            return [direct(_WAIT, another_round(event, now))]
        if decision.id in given or decision.content is None:
            return []
        return [command(orders.REPLY, orders.send_decision(decision, now))]
