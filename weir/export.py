"""``weir export``: the message history as JSON Lines, oldest first, over the API."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import aiohttp
import msgspec

from weir.reach import NotReachable, connections, home

DEFAULT_URL = "http://localhost:8000"
TRIES = 5
"""Cuts in a row, with nothing got in between, after which it gives up."""
PAUSE = 1.0
READ_BUFFER = 1024 * 1024
"""Half the longest line that is understood."""
QUIET_SECONDS = 60.0


class ExportFailed(Exception):
    """The export ended before its end; the text says why and what to do."""


class _Line(msgspec.Struct):
    id: str


_line = msgspec.json.Decoder(_Line).decode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="weir export",
        description="Writes every stored message as one JSON object a line, oldest first. A cut connection is resumed. "
        "The messages hold what followers wrote: keep the file accordingly.",
    )
    parser.add_argument("--account", help="only this account's messages")
    parser.add_argument(
        "--from", dest="start", metavar="T", help="not before this time, e.g. 2026-01-31T08:00:00+08:00"
    )
    parser.add_argument("--to", dest="end", metavar="T", help="before this time")
    parser.add_argument("--after", metavar="ID", help="only what follows the message of this id")
    parser.add_argument("--output", default="-", metavar="FILE", help="where to write (default: -, standard output)")
    parser.add_argument("--url", help=f"address of Weir (default: the one `weir up` runs here, else {DEFAULT_URL})")
    parser.add_argument("--token-file", type=Path, help="file with the admin token (default: WEIR_ADMIN_TOKEN, .weir)")
    return parser


def main(argv: Sequence[str]) -> int:
    """Export; 0 when all was written, 1 when not."""
    given = _parser().parse_args(argv)
    try:
        run = Export(given.url or _local_url(), _token(given.token_file), given)
        return _to_file(run, Path(given.output)) if given.output != "-" else _to(run, sys.stdout.buffer)
    except (ExportFailed, NotReachable) as error:
        print(f"weir export: {error}", file=sys.stderr)
        return 1


def _to_file(run: Export, path: Path) -> int:
    """Write beside the file and rename at the end, so that an older export is not lost to one that fails."""
    part = path.with_name(path.name + ".part")
    try:
        # What followers wrote is nobody else's to read.
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as sink:
            code = _to(run, sink)
        part.replace(path)
    except OSError as error:
        raise ExportFailed(f"cannot write {path}: {error.strerror}") from error
    return code


def _to(run: Export, sink: BinaryIO) -> int:
    try:
        asyncio.run(run.write(sink))
    except ExportFailed as error:
        got = f"; {run.count} messages were written, --after {run.last!r} gets the rest" if run.last else ""
        raise ExportFailed(f"{error}{got}") from error
    finally:
        sink.flush()
        run.progress(end=True)
    return 0


def _local_url() -> str:
    try:
        return connections().get("address") or DEFAULT_URL
    except NotReachable:
        return DEFAULT_URL


def _token(path: Path | None) -> str:
    if path is None:
        if token := os.environ.get("WEIR_ADMIN_TOKEN"):
            return token
        path = home() / "admin-token"
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ExportFailed(
            f"no admin token: {path} cannot be read ({error.strerror}); set WEIR_ADMIN_TOKEN or give --token-file"
        ) from error


class Export:
    """One export, resumed from the last line got for as long as anything comes."""

    def __init__(self, url: str, token: str, given: argparse.Namespace) -> None:
        self._url = url.rstrip("/") + "/api/messages/export"
        self._shown = url
        self._token = token
        named = {"account": given.account, "from": given.start, "to": given.end}
        self._parameters: dict[str, str] = {name: value for name, value in named.items() if value}
        self.last: str = given.after or ""
        self.count = 0
        self._told = 0.0

    async def write(self, sink: BinaryIO) -> None:
        """Write every line to ``sink``. Raises ``ExportFailed``."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=QUIET_SECONDS)
        headers = {"Authorization": f"Bearer {self._token}"}
        cuts = 0
        async with aiohttp.ClientSession(timeout=timeout, headers=headers, read_bufsize=READ_BUFFER) as session:
            while True:
                before = self.count
                try:
                    await self._read(session, sink)
                    return
                except aiohttp.InvalidURL as error:
                    raise ExportFailed(f"--url: {self._shown!r} is no address; try {DEFAULT_URL}") from error
                except aiohttp.ClientConnectorError as error:
                    if not self.count:
                        raise ExportFailed(
                            f"Weir does not answer at {self._shown}: start it with `weir up`, or give --url"
                        ) from error
                    reason = "nobody answers any more"
                except (aiohttp.ClientError, TimeoutError) as error:
                    reason = f"the connection was cut ({type(error).__name__})"
                cuts = 1 if self.count > before else cuts + 1
                if cuts >= TRIES:
                    raise ExportFailed(reason)
                await asyncio.sleep(PAUSE)

    async def _read(self, session: aiohttp.ClientSession, sink: BinaryIO) -> None:
        parameters = {**self._parameters, "after": self.last} if self.last else self._parameters
        async with session.get(self._url, params=parameters) as response:
            if response.status in (502, 503):
                raise aiohttp.ClientPayloadError("not ready")
            if response.status != 200:
                raise ExportFailed(await _refusal(response))
            if response.content_type != "application/x-ndjson":
                raise ExportFailed(f"what answers at {self._shown} is not Weir; give its address with --url")
            async for line in response.content:
                # A cut can leave half a line; it does not count, and comes again whole.
                if not line.endswith(b"\n"):
                    raise aiohttp.ClientPayloadError("half a line")
                self.last = _line(line).id
                sink.write(line)
                self.count += 1
                if not self.count % 1000:
                    self.progress()

    def progress(self, *, end: bool = False) -> None:
        """Tell a person at a terminal how far it is."""
        if sys.stderr.isatty() and (end or time.monotonic() - self._told > 0.2):
            self._told = time.monotonic()
            print(f"\r{self.count:,} messages", end="\n" if end else "", file=sys.stderr, flush=True)


async def _refusal(response: aiohttp.ClientResponse) -> str:
    if response.status == 401:
        return "the admin token is not the right one; it is in .weir/admin-token of the Weir that is running"
    try:
        return str(msgspec.json.decode(await response.read(), type=dict[str, object])["detail"])
    except (msgspec.DecodeError, KeyError):
        return f"the answer was {response.status} {response.reason}; is this the address of Weir?"
