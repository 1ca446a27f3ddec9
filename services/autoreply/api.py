"""Rules over HTTP: look, draft, check, publish, roll back, compare, try, replay."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from chassis.api import Call, endpoint
from chassis.http import Problem
from services.autoreply import views
from services.autoreply.compiling import check, load, shown, written
from services.autoreply.publishing import Conflict, Published, Publishing, Unknown, difference_of
from services.autoreply.replays import Replays
from services.autoreply.repository import Live, RuleRepository, Taken, Version
from services.autoreply.rulefile import Problem as RuleProblem
from services.autoreply.rulefile import RuleFileError
from services.autoreply.ruleset import RuleSet
from services.autoreply.trying import Tried, attempt

BASE = "/api/rules/{account}"
_BAD = (422, "bad_rules")
_NONE = (404, "not_found")
_STALE = (409, "stale")


class RulesApi:
    def __init__(self, repository: RuleRepository, publishing: Publishing, replays: Replays) -> None:
        self._repository = repository
        self._publishing = publishing
        self._replays = replays

    @endpoint("GET", BASE, "The live rules", allow="rules.read", answers=views.LiveRules, errors=(_NONE,))
    async def live(self, call: Call) -> views.LiveRules:
        live = await self._live(call)
        version = await self._version(live.account, live.version)
        draft = await self._repository.draft(live.account)
        return views.LiveRules(views.live_view(live), version.text, shown(version.text), draft is not None)

    @endpoint(
        "GET", f"{BASE}/versions", "Versions, newest first", allow="rules.read", query=views.VersionsQuery,
        answers=views.VersionPage,
    )  # fmt: skip
    async def versions(self, call: Call) -> views.VersionPage:
        account = call.path["account"]
        live = await self._repository.repaired(account)
        found = await self._repository.versions(account, below=call.query.below, limit=call.query.limit)
        following = found[-1].version if len(found) == call.query.limit else None
        return views.VersionPage([views.version_view(one, live) for one in found], following)

    @endpoint(
        "GET", BASE + "/versions/{version}", "One version", allow="rules.read", answers=views.WholeVersion,
        errors=(_NONE,),
    )  # fmt: skip
    async def version(self, call: Call) -> views.WholeVersion:
        account, number = call.path["account"], call.path["version"]
        if not (number.isascii() and number.isdecimal() and len(number) < 10):
            raise Problem(404, "not_found", "a version is a whole number")
        one = await self._version(account, int(number))
        live = await self._repository.live(account)
        return views.WholeVersion(views.version_view(one, live), one.text, shown(one.text))

    @endpoint("GET", f"{BASE}/draft", "The draft", allow="rules.read", answers=views.DraftView, errors=(_NONE,))
    async def draft(self, call: Call) -> views.DraftView:
        draft = await self._repository.draft(call.path["account"])
        if draft is None:
            raise Problem(404, "not_found", "there is no draft; PUT one")
        return views.draft_view(draft)

    @endpoint(
        "PUT", f"{BASE}/draft", "Save the draft", allow="rules.write", body=views.SaveDraft, answers=views.DraftView,
        errors=(_STALE,),
    )  # fmt: skip
    async def save_draft(self, call: Call) -> views.DraftView:
        """It need not be right yet: checking is another call."""
        given: views.SaveDraft = call.body
        account = call.path["account"]
        try:
            saved = await self._publishing.save_draft(
                account, given.yaml, by=call.who.name, base=given.base, known=given.etag
            )
        except Taken:
            raise Problem(
                409, "stale", "the draft has changed since: GET it, bring both together, save again"
            ) from None
        await call.audit("rules.draft_saved", account, {"etag": saved.etag})
        return views.draft_view(saved)

    @endpoint(
        "DELETE", f"{BASE}/draft", "Throw the draft away", allow="rules.write", query=views.DraftQuery, status=204,
        errors=(_NONE,),
    )  # fmt: skip
    async def drop_draft(self, call: Call) -> None:
        account = call.path["account"]
        if not await self._repository.drop_draft(account, call.query.etag or None):
            raise Problem(404, "not_found", "there is no such draft (any more)")
        await call.audit("rules.draft_dropped", account)

    @endpoint(
        "POST", f"{BASE}/check", "Check a rule set", allow="rules.read", body=views.Given, answers=views.Verdict,
        errors=(_NONE, (422, "bad_choice")),
    )  # fmt: skip
    async def check(self, call: Call) -> views.Verdict:
        """All that is wrong with it, each with line, rule, field, reason and fix."""
        text = await self._text(call)
        try:
            checked = await self._publishing.check(call.path["account"], text, datetime.now(UTC))
        except RuleFileError as error:
            return views.Verdict(False, 0, [_fault(one) for one in error.problems])
        return views.Verdict(True, checked.size, [])

    @endpoint(
        "POST", f"{BASE}/publish", "Publish a rule set", allow="rules.publish", body=views.Publish, answers=views.Done,
        errors=(_BAD, _STALE, _NONE, (422, "bad_choice")),
    )  # fmt: skip
    async def publish(self, call: Call) -> views.Done:
        """Make it the next version and the live one, on every consumer within 2 s."""
        given: views.Publish = call.body
        account, text = call.path["account"], await self._text(call)
        try:
            done = await self._publishing.publish(account, text, by=call.who.name, note=given.note, base=given.base)
        except RuleFileError as error:
            raise _bad(error) from None
        except Conflict as conflict:
            raise _stale(conflict) from None
        if given.draft:
            await self._repository.drop_draft(account)
        await self._recorded(call, "rules.published", done)
        return _done(done)

    @endpoint(
        "POST", f"{BASE}/rollback", "Make an older version live again", allow="rules.publish", body=views.Rollback,
        answers=views.Done, errors=(_STALE, _NONE),
    )  # fmt: skip
    async def rollback(self, call: Call) -> views.Done:
        given: views.Rollback = call.body
        try:
            done = await self._publishing.rollback(
                call.path["account"], given.version, by=call.who.name, note=given.note
            )
        except Unknown as error:
            raise Problem(404, "not_found", str(error)) from None
        except Conflict as conflict:
            raise _stale(conflict) from None
        await self._recorded(call, "rules.rolled_back", done)
        return _done(done)

    @endpoint(
        "GET", f"{BASE}/diff", "What differs between two versions", allow="rules.read", query=views.DiffQuery,
        answers=views.DiffView, errors=(_NONE,),
    )  # fmt: skip
    async def diff(self, call: Call) -> views.DiffView:
        account = call.path["account"]
        one = await self._version(account, call.query.start)
        other = await self._version(account, call.query.end or (await self._live(call)).version)
        names = (f"version {one.version}", f"version {other.version}")
        found = await asyncio.to_thread(difference_of, one.text, other.text, names)
        return views.DiffView(one.version, other.version, found.empty, found)

    @endpoint(
        "POST", f"{BASE}/compare", "What a rule set changes against the live one", allow="rules.read",
        body=views.Given, answers=views.DiffView, errors=(_BAD, _NONE, (422, "bad_choice")),
    )  # fmt: skip
    async def compare(self, call: Call) -> views.DiffView:
        """From the live version to what is given; ``to`` is 0 for what is no version."""
        text = await self._text(call)
        live = await self._version(call.path["account"], (await self._live(call)).version)
        names = (f"version {live.version}", "yours")
        try:
            found = await asyncio.to_thread(difference_of, live.text, text, names)
        except RuleFileError as error:
            raise _bad(error) from None
        return views.DiffView(live.version, call.body.version or 0, found.empty, found)

    @endpoint(
        "POST", f"{BASE}/simulate", "Try a message", allow="rules.read", body=views.Simulate, answers=Tried,
        errors=(_BAD, _NONE, (422, "bad_choice")),
    )  # fmt: skip
    async def simulate(self, call: Call) -> Tried:
        """Which rule wins, what it answers and does, and why each other did not take it. Nothing is sent."""
        rules = await self._rules(call)
        given: views.Simulate = call.body
        return await asyncio.to_thread(
            attempt, rules, call.path["account"], given.message, given.follower, datetime.now(UTC)
        )

    @endpoint(
        "POST", f"{BASE}/replay", "What would have been answered", allow="rules.read", body=views.ReplayOver,
        answers=views.ReplayLine, produces="application/x-ndjson",
        errors=(_BAD, _NONE, (422, "bad_choice"), (429, "busy")),
    )  # fmt: skip
    async def replay(self, call: Call) -> web.StreamResponse:
        """Go through the last days with the live rules and these; a JSON object a line, the last one says ``done``."""
        after = await self._rules(call)
        live = await self._live(call)
        before = await self._loaded(await self._version(live.account, live.version))
        given: views.ReplayOver = call.body
        if self._replays.busy:
            raise Problem(429, "busy", "another replay is under way here; try again when it is over")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        await response.prepare(call.request)
        async for line in self._replays.run(
            live.account, before, after, days=given.days, skip=given.skip, limit=given.limit
        ):
            await response.write(msgspec.json.encode(line) + b"\n")
        return response

    # -- what the endpoints share --

    async def _live(self, call: Call) -> Live:
        live = await self._repository.repaired(call.path["account"])
        if live is None:
            raise Problem(404, "not_found", "this account has no rules yet; publish some")
        return live

    async def _version(self, account: str, number: int) -> Version:
        found = await self._repository.version(account, number)
        if found is None:
            raise Problem(
                404, "not_found", f"there is no version {number}; GET /api/rules/{{account}}/versions lists them"
            )
        return found

    async def _text(self, call: Call, *, or_live: bool = False) -> str:
        """The text of the rule set that the body names."""
        given: views.Given = call.body
        account = call.path["account"]
        named = (given.yaml is not None) + (given.document is not None) + (given.version is not None) + given.draft
        if named == 0 and or_live:
            live = await self._live(call)
            return (await self._version(account, live.version)).text
        if named != 1:
            raise Problem(422, "bad_choice", "give exactly one of yaml, document, version, and draft: true")
        if given.yaml is not None:
            return given.yaml
        if given.document is not None:
            return await asyncio.to_thread(written, given.document)
        if given.version is not None:
            return (await self._version(account, given.version)).text
        draft = await self._repository.draft(account)
        if draft is None:
            raise Problem(404, "not_found", "there is no draft; PUT one")
        return draft.text

    async def _rules(self, call: Call) -> RuleSet:
        text = await self._text(call, or_live=True)
        try:
            await asyncio.to_thread(check, text)
            return await asyncio.to_thread(load, text, "tried")
        except RuleFileError as error:
            raise _bad(error) from None

    async def _loaded(self, version: Version) -> RuleSet:
        try:
            return await asyncio.to_thread(load, version.text, str(version.version))
        except RuleFileError as error:
            raise _bad(error) from None

    async def _recorded(self, call: Call, what: str, done: Published) -> None:
        if done.new:
            detail = {"version": done.live.version, "previous": done.live.previous, "note": done.live.note}
            await call.audit(what, done.live.account, detail)


def _done(done: Published) -> views.Done:
    return views.Done(done.live.version, done.new, views.live_view(done.live))


def _fault(one: RuleProblem) -> views.Fault:
    return views.Fault(one.line, one.sentence, one.rule, one.field, one.reason, one.fix)


def _bad(error: RuleFileError) -> Problem:
    first, count = error.problems[0], len(error.problems)
    more = f" ({count - 1} more)" if count > 1 else ""
    told: dict[str, Any] = {"problems": [_fault(one) for one in error.problems]}
    return Problem(422, "bad_rules", f"line {first.line}: {first.sentence}{more}", told)


def _stale(conflict: Conflict) -> Problem:
    more = {"live": views.live_view(conflict.live), "difference": conflict.difference}
    return Problem(409, "stale", conflict.detail, more)
