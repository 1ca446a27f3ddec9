import asyncio
import json
import socket
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from weir import export

TOKEN = "t" * 24
LINES = [json.dumps({"id": f"demo|o|{n}", "text": "你好"}, ensure_ascii=False).encode() + b"\n" for n in range(10)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "PAUSE", 0.01)
    monkeypatch.setenv("WEIR_ADMIN_TOKEN", TOKEN)
    monkeypatch.setenv("WEIR_HOME", str(tmp_path / "home"))


@asynccontextmanager
async def serving(handler):
    app = web.Application()
    app.router.add_get("/api/messages/export", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def run(*options):
    return await asyncio.to_thread(export.main, list(options))


async def started(request):
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    return response


async def test_a_cut_in_the_middle_of_a_line_is_resumed_after_the_last_whole_one(tmp_path):
    asked = []

    async def handler(request):
        asked.append(dict(request.query))
        response = await started(request)
        have = [json.loads(line)["id"] for line in LINES]
        start = have.index(request.query["after"]) + 1 if "after" in request.query else 0
        if start < 6:
            await response.write(b"".join(LINES[start : start + 3]) + LINES[start + 3][:7])
            request.transport.close()
            return response
        await response.write(b"".join(LINES[start:]))
        return response

    async with serving(handler) as url:
        assert await run("--url", url, "--account", "demo", "--output", str(tmp_path / "out")) == 0
    assert (tmp_path / "out").read_bytes() == b"".join(LINES)
    assert asked == [
        {"account": "demo"},
        {"account": "demo", "after": "demo|o|2"},
        {"account": "demo", "after": "demo|o|5"},
    ]


async def test_a_service_that_only_cuts_is_given_up_and_the_last_id_told(tmp_path, capsys):
    async def handler(request):
        response = await started(request)
        if "after" not in request.query:
            await response.write(LINES[0])
        request.transport.close()
        return response

    async with serving(handler) as url:
        assert await run("--url", url, "--output", str(tmp_path / "out")) == 1
    told = capsys.readouterr().err
    assert "cut" in told
    assert "1 messages were written" in told
    assert "demo|o|0" in told
    assert not (tmp_path / "out").exists()


async def test_nobody_there(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert await run("--url", f"http://127.0.0.1:{taken.getsockname()[1]}") == 1
    assert "weir up" in capsys.readouterr().err


async def test_somebody_else_there(capsys):
    async def handler(_request):
        return web.Response(text="<html>hello</html>", content_type="text/html")

    async with serving(handler) as url:
        assert await run("--url", url) == 1
    assert "is not Weir" in capsys.readouterr().err


async def test_what_is_refused_is_told_in_the_services_words(capsys):
    async def handler(_request):
        return web.json_response({"detail": "from: must be a time"}, status=400)

    async with serving(handler) as url:
        assert await run("--url", url, "--from", "x") == 1
    assert capsys.readouterr().err == "weir export: from: must be a time\n"


async def test_no_token(monkeypatch, capsys):
    monkeypatch.delenv("WEIR_ADMIN_TOKEN")
    assert await run() == 1
    assert "--token-file" in capsys.readouterr().err


async def test_the_token_of_the_local_weir_is_found(monkeypatch, tmp_path, capfdbinary):
    monkeypatch.delenv("WEIR_ADMIN_TOKEN")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "admin-token").write_text(TOKEN + "\n")

    async def handler(request):
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        response = await started(request)
        await response.write(LINES[0])
        return response

    async with serving(handler) as url:
        assert await run("--url", url) == 0
    assert capfdbinary.readouterr().out == LINES[0]


async def test_no_address(capsys):
    assert await run("--url", "here") == 1
    assert "--url" in capsys.readouterr().err
