"""A few lines that stand in for WeChat's API over real HTTP: scripted answers, and every way a connection can fail."""

import asyncio
import contextlib
import json
from collections import defaultdict, deque
from urllib.parse import parse_qs, urlsplit

SECRET = "5ecretOfTheAccount0123456789abcdef"
APPID = "wxba5fad812f8e6fb9"
OPENID = "oT5kWx0m3QbRz8LhYc2NfVu7EaJg"


class StandIn:
    """``script[path]`` holds what to do next: a dict (JSON), bytes (a raw body), or the name of a fault."""

    def __init__(self):
        self.script = defaultdict(deque)
        self.calls = []
        self.tokens = 0
        self.writers = set()

    def path_calls(self, path):
        return [call for call in self.calls if call["path"] == path]

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for writer in self.writers:
            writer.close()
        await self.server.wait_closed()

    async def _serve(self, reader, writer):
        self.writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._one(reader, writer):
                pass
        self.writers.discard(writer)
        writer.close()

    async def _one(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split("\r\n")[0].split(" ")
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("transfer-encoding") == "chunked":
            body = await reader.readuntil(b"0\r\n\r\n")
        url = urlsplit(target)
        call = {"method": method, "path": url.path, "query": parse_qs(url.query), "body": body, "headers": headers}
        self.calls.append(call)
        action = self.script[url.path].popleft() if self.script[url.path] else self._default(url.path)
        if action == "silence":
            await reader.read()
            return False
        if action == "cut":
            return False
        if action == "reset":
            writer.transport.abort()
            return False
        if action == "half":
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"errcode":0')
            await writer.drain()
            return False
        if action == "redirect":
            writer.write(b"HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return True
        if action == "garbage":
            writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
            await writer.drain()
            return False
        status, content = action if isinstance(action, tuple) else (200, action)
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
        await writer.drain()
        return True

    def _default(self, path):
        if path == "/cgi-bin/stable_token":
            self.tokens += 1
            return {"access_token": f"ToKeN-{self.tokens:04d}-abcdefghij", "expires_in": 7200}
        return {"errcode": 0, "errmsg": "ok"}


class MemoryStore:
    """A token store for the processes of one test, with the rules of ``TokenStore``; ``broken`` makes it fail."""

    def __init__(self, clock):
        self.clock = clock
        self.token = None
        self.leases = {}
        self.broken = False

    async def get(self, appid):
        await self._trip()
        return self.token

    async def lease(self, appid, holder, seconds):
        await self._trip()
        owner, until = self.leases.get(appid, ("", 0.0))
        if owner not in ("", holder) and until > self.clock():
            return False
        self.leases[appid] = (holder, self.clock() + seconds)
        return True

    async def put(self, appid, token, expires_at, version_seen):
        from chassis.wechat.tokens import StoredToken

        await self._trip()
        if (self.token.version if self.token else 0) == version_seen:
            self.token = StoredToken(token, version_seen + 1, expires_at)
        self.leases.pop(appid, None)
        return self.token

    async def _trip(self):
        await asyncio.sleep(0)
        if self.broken:
            raise ConnectionError(f"mongodb://weir:{SECRET}@db is away")


class Clock:
    def __init__(self, now=1731571200.0):
        self.now = now

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds
        await asyncio.sleep(0)
