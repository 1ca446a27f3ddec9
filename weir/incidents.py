"""``weir incidents``: who got a wrong answer, and their correction, over the API."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weir.client import DEFAULT_URL, Client, Refused

RUNNING = ("finding", "correcting")
PEEK_SECONDS = 0.5
PAGE = 500


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="weir incidents", description="Find everybody who got a wrong answer, and send them a correction, once."
    )
    parser.add_argument("--url", help=f"address of Weir (default: the one `weir up` runs here, else {DEFAULT_URL})")
    commands = parser.add_subparsers(dest="command", required=True)
    opened = commands.add_parser("open", help="find who got it, by rule and time or by one wrong message")
    opened.add_argument("--account")
    opened.add_argument("--rule", help="the id of the rule")
    opened.add_argument("--rules-version", help="only this version of the rules (default: every one)")
    opened.add_argument("--from", dest="start", metavar="T", help="not before, e.g. 2026-01-31T08:00:00+08:00")
    opened.add_argument("--to", dest="end", metavar="T", help="before this time (default: now)")
    opened.add_argument("--message", metavar="ID", help="instead of account and rule: the id of one wrong answer")
    listed = commands.add_parser("list", help="the latest incidents")
    listed.add_argument("--account")
    recipients = _about(commands, "recipients", "who got it, what and when, and how each can be reached now")
    recipients.add_argument("--state", help="only pending, released, sent, failed, unknown or skipped ones")
    correct = _about(commands, "correct", "send a correction to everybody who can be reached, and watch it")
    content = correct.add_mutually_exclusive_group(required=True)
    content.add_argument("--text", help="the correction")
    content.add_argument(
        "--content", metavar="JSON", help='another kind, e.g. \'{"type": "image", "media_id": "..."}\''
    )
    correct.add_argument(
        "--include-unknown", action="store_true", help="also to those of whom it is not known whether they got it"
    )
    correct.add_argument("--no-wait", action="store_true", help="only start it")
    export = _about(commands, "export", "every recipient, as JSON Lines or CSV")
    export.add_argument("--format", choices=("jsonl", "csv"), default="jsonl")
    export.add_argument("--output", type=Path, required=True, metavar="FILE")
    shown = [_about(commands, name, text) for name, text in _SIMPLE.items()]
    for one in (opened, listed, recipients, correct, *shown):
        one.add_argument("--json", action="store_true", help="for machines")
    return parser


_SIMPLE = {
    "show": "how many got it, and how far the correction is",
    "pause": "send to nobody else until it is resumed",
    "resume": "go on",
    "cancel": "send to nobody else, for good",
}


def _about(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text)
    parser.add_argument("incident", help="its id; weir incidents list shows them")
    return parser


async def main(argv: Sequence[str]) -> int:
    """Run one command; 0 when it did what it was asked."""
    given = _parser().parse_args(argv)
    try:
        async with Client(given.url, "/api/incidents") as client:
            return await _run(client, given)
    except Refused as error:
        print(f"weir incidents {given.command}: {error}", file=sys.stderr)
        return 1


async def _run(client: Client, given: argparse.Namespace) -> int:
    match given.command:
        case "open":
            named = {
                "account": given.account,
                "rule": given.rule,
                "rules_version": given.rules_version,
                "from": given.start,
                "to": given.end,
                "message": given.message,
            }
            incident = await client.ask("POST", "", body={name: value for name, value in named.items() if value})
            _print(await _watch(client, incident["id"]), as_json=given.json)
        case "list":
            page = await client.ask("GET", "", {"account": given.account} if given.account else {})
            if given.json:
                print(json.dumps(page["incidents"], ensure_ascii=False, indent=2))
            else:
                for one in page["incidents"]:
                    print(f"{one['id']}  {one['opened']}  {one['phase']:<10} {one['account']} rule {one['rule']}")
        case "recipients":
            await _recipients(client, given)
        case "correct":
            body = {"content": _content(given), "include_unknown": given.include_unknown}
            incident = await client.ask("POST", f"/{given.incident}/correction", body=body)
            if not given.no_wait:
                incident = await _watch(client, given.incident)
            _print(incident, as_json=given.json)
            failed = incident["recipients"]["failed"] + incident["recipients"]["unknown"]
            return 1 if failed else 0
        case "export":
            await client.save(f"/{given.incident}/export", {"format": given.format}, given.output)
        case "show":
            _print(await client.ask("GET", f"/{given.incident}"), as_json=given.json)
        case step:
            _print(await client.ask("POST", f"/{given.incident}/{step}"), as_json=given.json)
    return 0


def _content(given: argparse.Namespace) -> Any:
    if given.text is not None:
        return {"type": "text", "content": given.text}
    try:
        return json.loads(given.content)
    except ValueError as error:
        raise Refused(f"--content: is no JSON ({error})") from None


async def _recipients(client: Client, given: argparse.Namespace) -> None:
    found: list[Any] = []
    query = {"limit": str(PAGE), **({"state": given.state} if given.state else {})}
    while True:
        page = await client.ask("GET", f"/{given.incident}/recipients", query)
        found += page["recipients"]
        if not page["next"]:
            break
        query["cursor"] = page["next"]
    if given.json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    for one in found:
        why = one.get("reason") or one["road_reason"]
        got = ", ".join(each["at"] for each in one["got"])
        print(f"{one['openid']:<30} got it {got}; {one['state']}; {one['road']}: {why}")


async def _watch(client: Client, name: str) -> Any:
    """Wait until nothing more happens by itself, and tell a person at a terminal how far it is."""
    told = sys.stderr.isatty()
    while True:
        incident = await client.ask("GET", f"/{name}")
        if told:
            print(f"\r{line(incident)}", end="", file=sys.stderr, flush=True)
        # Paused by somebody else: whoever resumes it may watch it again.
        if incident["phase"] not in RUNNING:
            if told:
                print(file=sys.stderr)
            return incident
        await asyncio.sleep(PEEK_SECONDS)


def line(incident: Mapping[str, Any]) -> str:
    """How far a correction is, in one line."""
    counts = incident["recipients"]
    total = counts["total"]
    over = total - counts["pending"] - counts["released"]
    filled = 20 * over // total if total else 0
    return f"{incident['phase']:<10} [{'#' * filled:<20}] {over}/{total}, {counts['sent']} corrected"


def _print(incident: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(incident, ensure_ascii=False, indent=2))
        return
    counts, by_road = incident["recipients"], incident["roads"]
    version = incident["rules_version"] or "every version"
    print(f"incident {incident['id']}: {incident['phase']}")
    print(
        f"  account {incident['account']}, rule {incident['rule']} ({version}), {incident['from']} to {incident['to']}"
    )
    print(f"  {incident['received']} followers got {incident['messages']} messages", end="")
    print(f"; of {incident['received_unknown']} more it is not known" if incident["received_unknown"] else "")
    print("  can be reached: " + ", ".join(f"{kind} {count}" for kind, count in by_road.items()))
    print("  " + ", ".join(f"{state} {count}" for state, count in counts.items()))
