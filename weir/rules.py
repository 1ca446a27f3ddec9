"""``weir rules lint|publish|export|diff|versions|rollback|try|replay``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.autoreply.rulefile import RuleFileError, checked
from weir.client import Client, Refused

WIDE = 72


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="weir rules", description="What the machine answers, by account.")
    commands = parser.add_subparsers(dest="command", required=True)
    lint = commands.add_parser(
        "lint", help="check rule files, without a server; exit status 1 when one would be refused"
    )
    lint.add_argument("files", nargs="+", type=Path, metavar="FILE")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text)
        made.add_argument("account")
        made.add_argument("--url", default="", help="address of Weir (default: the one `weir up` runs here)")
        made.add_argument("--json", action="store_true", help="for machines")
        return made

    publish = command("publish", "make a rule file the account's live rules, everywhere within 2 s")
    publish.add_argument("file", type=Path, metavar="FILE")
    publish.add_argument("--note", default="", help="what changes, for those who look later")
    publish.add_argument(
        "--base", type=int, help="version that you began from; refused when another operator published since"
    )
    export = command("export", "write the live rules, or a version, as YAML")
    export.add_argument("--version", type=int)
    export.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    diff = command("diff", "what a file, or a version, changes against the live rules")
    diff.add_argument("other", metavar="FILE|VERSION")
    command("versions", "every version, and which one is live")
    rollback = command("rollback", "make an older version live again, everywhere within 2 s")
    rollback.add_argument("version", type=int)
    rollback.add_argument("--note", default="")
    trying = command("try", "which rule would answer a message, and why each other would not")
    trying.add_argument("text", nargs="?", default="", help="the message")
    trying.add_argument("--file", type=Path, help="try these rules instead of the live ones")
    trying.add_argument("--version", type=int, help="try this version")
    trying.add_argument("--kind", default="text", help="kind of message (default: text)")
    trying.add_argument("--event", default="", help="an event instead of a message, such as click")
    trying.add_argument("--key", default="", help="the event's key")
    trying.add_argument("--tag", action="append", default=[], help="a tag that the follower has")
    trying.add_argument("--at", default="", help="at this time instead of now, such as 2026-10-01T22:00:00+08:00")
    replay = command("replay", "which of the last days' messages a file, or a version, would answer differently")
    replay.add_argument("other", metavar="FILE|VERSION")
    replay.add_argument("--days", type=int, default=7)
    replay.add_argument("--limit", type=int, default=20, help="changed messages to list (default: 20); all are counted")
    return parser


def main(argv: Sequence[str]) -> int:
    given = _parser().parse_args(argv)
    if given.command == "lint":
        return _lint(given.files)
    try:
        return asyncio.run(_online(given))
    except Refused as error:
        print(f"weir rules {given.command}: {error}", file=sys.stderr)
        for problem in error.problem.get("problems", ())[1:]:
            print(f"  line {problem['line']}: {problem['sentence']}", file=sys.stderr)
        if text := error.problem.get("difference", {}).get("text"):
            print(text, file=sys.stderr)
        return 1


def _lint(files: Sequence[Path]) -> int:
    bad = 0
    for path in files:
        try:
            document = checked(path.read_text(encoding="utf-8"), datetime.now(UTC))
        except RuleFileError as error:
            bad += 1
            for problem in error.problems:
                print(f"{path}:{problem.line}: {problem.sentence}", file=sys.stderr)
        except (OSError, UnicodeDecodeError) as error:
            bad += 1
            print(f"{path}: cannot be read: {error}", file=sys.stderr)
        else:
            print(f"{path}: {len(document.rules) + bool(document.default)} rules, good")
    return 1 if bad else 0


async def _online(given: argparse.Namespace) -> int:
    async with Client(given.url, f"/api/rules/{given.account}") as client:
        match given.command:
            case "publish":
                body = {"yaml": _read(given.file), "note": given.note, "base": given.base}
                done = await client.ask("POST", "/publish", body=body)
                words = "is live within 2 s" if done["new"] else "is live already, with just these rules"
                _tell(given, done, f"{given.account}: version {done['version']} {words}")
            case "rollback":
                body = {"version": given.version, "note": given.note}
                done = await client.ask("POST", "/rollback", body=body)
                words = "is live again within 2 s" if done["new"] else "is the live one already"
                _tell(given, done, f"{given.account}: version {done['version']} {words}")
            case "export":
                path = f"/versions/{given.version}" if given.version else ""
                found = await client.ask("GET", path)
                _write(given, found)
            case "versions":
                found = await client.ask("GET", "/versions", {"limit": "200"})
                _tell(given, found, "\n".join(map(_version_line, found["versions"])) or "there is no version yet")
            case "diff":
                await _diff(client, given)
            case "try":
                await _try(client, given)
            case _:
                await _replay(client, given)
    return 0


def _tell(given: argparse.Namespace, answer: Any, words: str) -> None:
    print(json.dumps(answer, indent=2, ensure_ascii=False) if given.json else words)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path} cannot be read: {error}") from None


def _other(given: argparse.Namespace) -> dict[str, Any]:
    """The rule set that FILE|VERSION names."""
    name = str(given.other)
    return {"version": int(name)} if name.isdecimal() and not Path(name).exists() else {"yaml": _read(Path(name))}


def _write(given: argparse.Namespace, found: Mapping[str, Any]) -> None:
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n" if given.json else str(found["yaml"])
    if not given.output:
        print(text, end="" if text.endswith("\n") else "\n")
        return
    try:
        given.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refused(f"cannot write {given.output}: {error.strerror}") from None


def _version_line(one: Mapping[str, Any]) -> str:
    mark = "live" if one["live"] else ""
    return f"{one['version']:>6}  {mark:<4}  {one['at'][:19]}Z  {one['by']:<16}  {one['rules']:>6} rules  {one['note']}"


async def _diff(client: Client, given: argparse.Namespace) -> None:
    other = _other(given)
    if "version" in other:
        live = (await client.ask("GET", ""))["live"]["version"]
        found = await client.ask("GET", "/diff", {"from": str(live), "to": str(other["version"])})
        _tell(given, found, found["difference"].get("text", "") or "no difference")
        return
    verdict = await client.ask("POST", "/check", body=other)
    if not verdict["good"]:
        raise Refused(verdict["problems"][0]["sentence"], verdict)
    found = await client.ask("POST", "/compare", body=other)
    _tell(given, found, found["difference"].get("text", "") or "no difference")


async def _try(client: Client, given: argparse.Namespace) -> None:
    message: dict[str, Any] = {"text": given.text, "kind": given.kind, "event": given.event, "key": given.key}
    body: dict[str, Any] = {
        "message": message | ({"at": given.at} if given.at else {}),
        "follower": {"tags": given.tag},
    }
    if given.file:
        body["yaml"] = _read(given.file)
    elif given.version:
        body["version"] = given.version
    found = await client.ask("POST", "/simulate", body=body)
    if given.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    print(f"found by  {found['matcher']}")
    print(f"rules     {', '.join(found['rules']) or '(none)'}")
    for answer in found["answers"]:
        print(f"answers   {answer['text'] or answer['content']['type']}   (rule {answer['rule']})")
    for action in found["actions"]:
        more = ", ".join(
            f"{name} {value}" for name, value in action.items() if name != "does" and value not in ("", [], 0)
        )
        print(f"does      {action['does']} {more}".rstrip())
    if found["note"]:
        print(f"note      {found['note']}")
    if found["trace"]:
        width = max(len(one["rule"]) for one in found["trace"])
        print()
        for one in found["trace"]:
            print(f"{'  >' if one['took'] else '   '} {one['rule']:<{width}}  {one['words']}")
    if found["more"]:
        print(f"    and {found['more']} more whose keywords are simply not in the text")


async def _replay(client: Client, given: argparse.Namespace) -> None:
    body = {**_other(given), "days": given.days, "limit": given.limit}
    done: dict[str, Any] = {}

    def line(one: Mapping[str, Any]) -> None:
        if "done" in one:
            done.update(one["done"])
        if given.json:
            print(json.dumps(one, ensure_ascii=False))
        elif "read" in one and sys.stderr.isatty():
            print(f"\r{one['read']:,} messages", end="", file=sys.stderr, flush=True)
        elif "change" in one:
            change = one["change"]
            before, after = (" | ".join(change[side]["answers"]) or "(nothing)" for side in ("before", "after"))
            print(
                f"{change['at'][:19]}  {change['text'][:WIDE]!r}\n    now   {before[:WIDE]}\n    then  {after[:WIDE]}"
            )

    await client.lines("POST", "/replay", body, line)
    if not done:
        raise Refused("the replay was cut off; try again")
    if given.json:
        return
    read, changed = done["read"], done["changed"]
    print(f"\n{read:,} messages of {given.days} days in {done['seconds']:.1f} s: {changed:,} answers would change")
    for count in done["counts"]:
        print(f"{count['messages']:>8,}  {' + '.join((count['before'],))} -> {count['after']}")
    for words in done["assumptions"]:
        print(f"note: {words}")
