"""Incidents over HTTP: open, look, correct, pause, export."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from aiohttp import web

from chassis import http
from chassis.api import Call, endpoint
from chassis.http import Problem
from services.history import incident_views as views
from services.history import roads
from services.history.corrections import Corrections
from services.history.documents import Document
from services.history.incidents import Incidents
from services.history.query import BadParameter, moment
from services.history.reading import Reading

BACK = timedelta(days=7)
"""How far before a wrong message its like is looked for, unless ``from`` says otherwise."""


class IncidentsApi:
    def __init__(self, incidents: Incidents, corrections: Corrections, reading: Reading) -> None:
        self._incidents = incidents
        self._corrections = corrections
        self._reading = reading

    @endpoint(
        "POST", "/api/incidents", "Open an incident", allow="", body=views.OpenIncident, answers=views.Incident,
        status=201, errors=((404, "not_found"), (422, "bad_incident"), (400, "bad_parameter")),
    )  # fmt: skip
    async def open(self, call: Call) -> Document:
        """Starts to find everybody who got the answer; needs incidents.write for the account."""
        asked: views.OpenIncident = call.body
        now = self._incidents.clock()
        account, rule, version = asked.account, asked.rule, asked.rules_version
        start = _moment("from", asked.start)
        if asked.message:
            if account or rule or version:
                raise Problem(422, "bad_incident", "message: give it alone, or give account, rule, from and to instead")
            wrong = await self._reading.one(asked.message)
            if wrong is None or not call.who.may("incidents.write", wrong["account"]):
                raise Problem(404, "not_found", "message: there is no message of this id")
            because = wrong.get("because") or {}
            account, rule, version = wrong["account"], because.get("rule", ""), because.get("rules_version", "")
            start = start or wrong["at"] - BACK
            if not rule:
                raise Problem(422, "bad_incident", "message: must be an answer that a rule gave")
        if not account or not rule or start is None:
            raise Problem(422, "bad_incident", "account, rule and from: are needed, or the id of one wrong message")
        call.require("incidents.write", account)
        end = _moment("to", asked.end) or now
        if start >= end:
            raise Problem(422, "bad_incident", "to: must be later than from, which must be in the past")
        incident = await self._incidents.open(account, rule, version, start, end, call.who.name, asked.message)
        await call.audit("incidents.opened", incident["_id"], {"rule": rule, "rules_version": version}, account)
        return await self._shown(incident)

    @endpoint(
        "GET",
        "/api/incidents",
        "Incidents, newest first",
        allow="",
        query=views.IncidentsQuery,
        answers=views.IncidentPage,
    )
    async def list(self, call: Call) -> Document:
        """The latest hundred of the accounts that the caller may look at."""
        if call.query.account:
            call.require("incidents.read", call.query.account)
        found = await self._incidents.newest(call.query.account)
        seen = [one for one in found if call.who.may("incidents.read", one["account"])]
        return {"incidents": [views.incident(one) for one in seen]}

    @endpoint(
        "GET", "/api/incidents/{incident}", "One incident and its progress", allow="", answers=views.Incident,
        errors=((404, "not_found"),),
    )  # fmt: skip
    async def incident(self, call: Call) -> Document:
        """How many got what, by which road they can be reached, and how far the correction is."""
        incident = await self._found(call, "incidents.read")
        # A send in doubt may have been cleared up long after the job ended.
        await self._corrections.reconcile(incident)
        return await self._shown(incident)

    @endpoint(
        "GET", "/api/incidents/{incident}/recipients", "Who got it", allow="", query=views.RecipientsQuery,
        answers=views.RecipientPage, errors=((404, "not_found"),),
    )  # fmt: skip
    async def recipients(self, call: Call) -> Document:
        """What each got and when, and by which road they can be reached right now."""
        incident = await self._found(call, "incidents.read")
        query: views.RecipientsQuery = call.query
        if query.state and query.state not in roads.STATES:
            raise Problem(400, "bad_parameter", f"state: must be one of {', '.join(roads.STATES)}")
        name = incident["_id"]
        after = f"{name}|{query.cursor}" if query.cursor else ""
        found = await self._incidents.listed(name, after, query.limit, query.state)
        return {
            "recipients": [views.recipient(await self._with_road(one)) for one in found],
            "next": found[-1]["openid"] if len(found) == query.limit else None,
        }

    @endpoint(
        "GET", "/api/incidents/{incident}/export", "Every recipient, as JSON Lines or CSV", allow="",
        query=views.IncidentExportQuery, answers=views.Recipient, produces="application/x-ndjson",
        errors=((404, "not_found"),),
    )  # fmt: skip
    async def export(self, call: Call) -> web.StreamResponse:
        """``format=csv`` is for spreadsheets: UTF-8 with a byte order mark, and no cell that would be a formula."""
        incident = await self._found(call, "incidents.read")
        if call.query.format not in ("jsonl", "csv"):
            raise Problem(400, "bad_parameter", "format: must be jsonl or csv")
        as_csv = call.query.format == "csv"
        kind = "text/csv; charset=utf-8" if as_csv else "application/x-ndjson"
        response = web.StreamResponse(headers={"Content-Type": kind, "Cache-Control": "no-store"})
        await response.prepare(call.request)
        if as_csv:
            await response.write(b"\xef\xbb\xbf" + views.csv_lines([views.CSV]))
        async for page in self._incidents.pages(incident["_id"]):
            rows = [views.recipient(one) for one in page]
            lines = views.csv_lines(map(views.row, rows)) if as_csv else b"".join(http.to_json(r) + b"\n" for r in rows)
            await response.write(lines)
        return response

    @endpoint(
        "POST", "/api/incidents/{incident}/correction", "Send a correction", allow="", body=views.Correct,
        answers=views.Incident, status=202, errors=((404, "not_found"), (409, "wrong_phase"), (422, "bad_content")),
    )  # fmt: skip
    async def correct(self, call: Call) -> Document:
        """Each recipient that a customer-service message reaches gets it once; the rest is listed with the reason."""
        incident = await self._found(call, "incidents.write")
        if wrong := roads.wrong_with(call.body.content):
            raise Problem(422, "bad_content", wrong)
        include = call.body.include_unknown
        if not await self._incidents.correct(incident["_id"], call.body.content, call.who.name, unknown=include):
            raise _wrong_phase(incident, "its recipients must be found, and it is corrected once")
        await call.audit("incidents.corrected", incident["_id"], {"include_unknown": include}, incident["account"])
        return await self._again(incident)

    @endpoint(
        "POST", "/api/incidents/{incident}/pause", "Pause the correction", allow="", answers=views.Incident,
        errors=((404, "not_found"), (409, "wrong_phase")),
    )  # fmt: skip
    async def pause(self, call: Call) -> Document:
        """What is released already (50 at most) goes its way."""
        return await self._move(call, "correcting", "paused")

    @endpoint(
        "POST", "/api/incidents/{incident}/resume", "Go on with the correction", allow="", answers=views.Incident,
        errors=((404, "not_found"), (409, "wrong_phase")),
    )  # fmt: skip
    async def resume(self, call: Call) -> Document:
        """Only those who have not been corrected yet get it."""
        return await self._move(call, "paused", "correcting")

    @endpoint(
        "POST", "/api/incidents/{incident}/cancel", "End the correction", allow="", answers=views.Incident,
        errors=((404, "not_found"), (409, "wrong_phase")),
    )  # fmt: skip
    async def cancel(self, call: Call) -> Document:
        """For good: whoever has not been corrected by now is not."""
        incident = await self._found(call, "incidents.write")
        if not await self._incidents.cancel(incident["_id"]):
            raise _wrong_phase(incident, "it is over already, or its recipients are still being found")
        await call.audit("incidents.cancelled", incident["_id"], {}, incident["account"])
        return await self._again(incident)

    async def _move(self, call: Call, before: str, after: str) -> Document:
        incident = await self._found(call, "incidents.write")
        if not await self._incidents.change(incident["_id"], (before,), {"phase": after, "active": True}):
            raise _wrong_phase(incident, f"it must be {before} for this")
        await call.audit(f"incidents.{after}", incident["_id"], {}, incident["account"])
        return await self._again(incident)

    async def _found(self, call: Call, permission: str) -> Document:
        incident = await self._incidents.get(call.path["incident"])
        # Whoever may not look at an account is not told what there is in it.
        if incident is None or not call.who.may("incidents.read", incident["account"]):
            raise Problem(404, "not_found", "there is no incident of this id; GET /api/incidents lists them")
        call.require(permission, incident["account"])
        return incident

    async def _again(self, incident: Document) -> Document:
        return await self._shown(await self._incidents.get(incident["_id"]) or incident)

    async def _shown(self, incident: Document) -> Document:
        return {**views.incident(incident), **await self._incidents.counts(incident["_id"])}

    async def _with_road(self, one: Document) -> Document:
        if one.get("erased"):
            return one
        road = await self._incidents.road(one)
        return {**one, "road": road.kind, "left": road.left, "road_reason": road.reason}


def _moment(name: str, text: str) -> Any:
    try:
        return moment(name, text) if text else None
    except BadParameter as error:
        raise Problem(400, "bad_parameter", str(error)) from None


def _wrong_phase(incident: Document, why: str) -> Problem:
    return Problem(409, "wrong_phase", f"the incident is {incident['phase']}: {why}")
