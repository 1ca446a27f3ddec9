"""The correction of an incident: a job that one process at a time carries out, and that can be killed anywhere.

A recipient is marked as released before the command to send is published, and the command's id is made of incident
and follower: published again after a crash, the courier's ledger still sends it once. What became of it is read from
the history, which records the courier's facts anyway.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec

from chassis import logs, metrics
from chassis.mongo import UpdateOne, timed
from chassis.publisher import Publisher, command
from contracts import orders
from contracts.content import Content
from contracts.envelope import Event, raw
from contracts.facts import Because, Send, Window
from services.history import roads
from services.history.documents import Document
from services.history.incidents import Incidents
from services.history.lease import Lease
from services.history.store import Store

log = logs.get(__name__)

BULK = "send.bulk"
STEP_SECONDS = 0.25
IDLE_SECONDS = 1.0
AGAIN_SECONDS = 5.0
OUTCOMES = ("sent", "failed", "unknown")
REPEAT = timedelta(seconds=30)
"""After so long without an outcome a command is published again: it may never have left."""
EXPIRES = timedelta(hours=1)
"""A command that the courier could not carry out for so long fails, and its recipient is told of as failed."""


def send_id(account: str, openid: str, incident: str) -> str:
    """The id of a follower's correction: there is one for each incident, ever."""
    return f"{account}|{openid}|incident|{incident}#c"


class Corrections:
    """Finds, releases and reconciles, for all incidents that are active."""

    def __init__(self, store: Store, incidents: Incidents, publisher: Publisher) -> None:
        self._messages = store.messages
        self._incidents = incidents
        self._publisher = publisher
        self._lease = Lease(store.database["history_leases"], "#incidents", incidents.clock)

    async def forever(self) -> None:
        """Carry on with what is active; after a failure again in five seconds."""
        while True:
            pause = IDLE_SECONDS
            try:
                if await self._lease.hold() and await self.step():
                    pause = STEP_SECONDS
            except Exception as error:  # whatever it was, everything stands where it stood
                log.warning("incidents wait", reason=repr(error))
                pause = AGAIN_SECONDS
            await asyncio.sleep(pause)

    async def step(self) -> bool:
        """One step for each active incident; whether there was any."""
        active = await self._incidents.active()
        metrics.incidents_open.set(len(active))
        for incident in active:
            if incident["phase"] == "finding":
                await self._incidents.find(incident)
            else:
                await self.reconcile(incident)
                await self._go_on(incident)
            await self._lease.hold()
        return bool(active)

    async def reconcile(self, incident: Document) -> None:
        """Bring what is known of the corrections under way, and of those in doubt, to their recipients."""
        mine = {"incident": incident["_id"], "state": {"$in": ["released", "unknown"]}}
        with timed("find"):
            doubtful = await self._incidents.recipients.find(mine, {"state": 1, "send": 1}).to_list(None)
        for begin in range(0, len(doubtful), 500):
            some = {one["send"]: one for one in doubtful[begin : begin + 500]}
            with timed("find"):
                told = await self._messages.find(
                    {"_id": {"$in": list(some)}}, {"status": 1, "reason": 1, "at": 1}
                ).to_list(None)
            updates = []
            for one in told:
                recipient = some[one["_id"]]
                if one["status"] in OUTCOMES and one["status"] != recipient["state"]:
                    values = {"state": one["status"], "reason": one.get("reason", ""), "settled": one["at"]}
                    unchanged = {"_id": recipient["_id"], "state": recipient["state"]}
                    updates.append(UpdateOne(unchanged, {"$set": values}))
                    metrics.incident_recipients.labels(one["status"]).inc()
            if updates:
                with timed("update_many"):
                    await self._incidents.recipients.bulk_write(updates, ordered=False)

    async def _go_on(self, incident: Document) -> None:
        name = incident["_id"]
        # What the operator says counts as of now, not as of the beginning of this step.
        incident = await self._incidents.get(name) or incident
        counts = (await self._incidents.counts(name))["recipients"]
        match incident["phase"]:
            case "correcting" if not counts["pending"] and not counts["released"]:
                await self._incidents.change(
                    name, ("correcting",), {"phase": "done", "active": False, "finished": self._incidents.clock()}
                )
            case "correcting":
                await self._repeat(incident)
                await self._release(incident, roads.room(counts["released"]))
            case "cancelled":
                # A kill between the two halves of a cancellation leaves the second to be done here.
                await self._incidents.skip_pending(name, "The correction was cancelled.")
                if counts["released"]:
                    await self._repeat(incident)
                else:
                    values = {"active": False, "finished": self._incidents.clock()}
                    await self._incidents.change(name, ("cancelled",), values)

    async def _release(self, incident: Document, most: int) -> None:
        if not most:
            return
        waiting = {"incident": incident["_id"], "state": "pending"}
        with timed("find"):
            pending = await self._incidents.recipients.find(waiting).sort("_id").limit(most).to_list(most)
        allowed = [(one, await self._may_go(incident, one)) for one in pending]
        await asyncio.gather(*(self._publish(incident, one, window) for one, window in allowed if window))

    async def _may_go(self, incident: Document, one: Document) -> Window | None:
        """Mark a recipient as released, or as skipped with the reason; the window it is sent in."""
        road = await self._incidents.road(one)
        now = self._incidents.clock()
        values: Document = {"road": road.kind, "left": road.left, "road_reason": road.reason, "road_at": now}
        certain = any(got["status"] == "sent" for got in one["got"])
        if not certain and not incident.get("include_unknown"):
            values |= {"state": "skipped", "reason": "It is not known whether the wrong answer arrived."}
        elif road.kind != "custom":
            values |= {"state": "skipped", "reason": road.reason}
        else:
            key = send_id(one["account"], one["openid"], incident["_id"])
            values |= {"state": "released", "released": now, "send": key}
        with timed("update"):
            result = await self._incidents.recipients.update_one(
                {"_id": one["_id"], "state": "pending"}, {"$set": values}
            )
        if not result.modified_count:
            return None
        metrics.incident_recipients.labels(values["state"]).inc()
        return road.window if values["state"] == "released" else None

    async def _repeat(self, incident: Document) -> None:
        """Publish again what has had no outcome for long."""
        limit = self._incidents.clock() - REPEAT
        stuck = {"incident": incident["_id"], "state": "released", "released": {"$lt": limit}}
        with timed("find"):
            found = await self._incidents.recipients.find(stuck).limit(roads.WINDOW).to_list(roads.WINDOW)
        for one in found:
            road = await self._incidents.road(one)
            await self._publish(incident, one, road.window)
            with timed("update"):
                await self._incidents.recipients.update_one(
                    {"_id": one["_id"], "state": "released"}, {"$set": {"released": self._incidents.clock()}}
                )

    async def _publish(self, incident: Document, one: Document, window: Window | None) -> None:
        now = self._incidents.clock()
        content = msgspec.convert(incident["content"], Content)
        order = Send(content, Because(incident=incident["_id"]), window, now + EXPIRES)
        event = Event(
            id=send_id(one["account"], one["openid"], incident["_id"]),
            source=f"/accounts/{one['account']}",
            type=orders.SEND,
            subject=one["openid"],
            time=now,
            account=one["account"],
            lane="signal",
            cause=one["got"][0]["id"],
            data=raw(order),
        )
        await self._publisher.publish(command(BULK, event))
