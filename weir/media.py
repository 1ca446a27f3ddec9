"""``weir media add|list|remove``: the files that answers show, by name."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from weir.client import Client, Refused


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="weir media", description="Pictures, voices and videos for answers.")
    parser.add_argument("--url", default="", help="address of Weir, if it is not the one that `weir up` runs here")
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="add a file, or put another in its place")
    add.add_argument("account")
    add.add_argument("name", help="what rules call it: `media: NAME`")
    add.add_argument("file", type=Path)
    add.add_argument("--kind", default="", help="thumb for the small picture of a card; else it follows from the file")
    listed = commands.add_parser("list", help="what there is, and until when WeChat has it")
    listed.add_argument("account", nargs="?", default="")
    remove = commands.add_parser("remove", help="remove a file that no published rule uses")
    remove.add_argument("account")
    remove.add_argument("name")
    return parser


def main(argv: Sequence[str]) -> int:
    arguments = _parser().parse_args(argv)
    try:
        return asyncio.run(_run(arguments))
    except Refused as error:
        print(f"weir media: {error}", file=sys.stderr)
        return 1


async def _run(arguments: argparse.Namespace) -> int:
    async with Client(arguments.url, "/api/media") as client:
        if arguments.command == "list":
            query = {"account": arguments.account} if arguments.account else {}
            for one in (await client.ask("GET", "", query))["media"]:
                state = one.get("last_error") or (f"until {one['expires_at']}" if "expires_at" in one else "not yet")
                print(f"{one['account']}  {one['name']}  {one['kind']}  {one['size']} bytes  at WeChat: {state}")
            return 0
        path = f"/{arguments.account}/{arguments.name}"
        if arguments.command == "remove":
            await client.send("DELETE", path)
            print(f"removed {arguments.name}")
            return 0
        try:
            content = arguments.file.read_bytes()
        except OSError as error:
            raise Refused(f"cannot read {arguments.file}: {error.strerror}") from None
        query = {"kind": arguments.kind} if arguments.kind else {}
        added = await client.ask("PUT", path, query, content)
        print(f"{added['name']}: {added['kind']}, {added['size']} bytes; WeChat gets it in a few seconds")
        return 0
