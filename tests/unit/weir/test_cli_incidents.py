"""``weir incidents`` against an API played by a few handlers."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from weir.incidents import line, main

COUNTS = {"total": 60, "pending": 10, "released": 5, "sent": 40, "failed": 0, "unknown": 0, "skipped": 5}
DONE = {**COUNTS, "pending": 0, "released": 0, "sent": 55}


def incident(phase: str, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "id": "abc", "account": "demo", "rule": "signup", "rules_version": "7", "from": "a", "to": "b", "phase": phase,
        "recipients": counts, "roads": {"custom": 55, "mass": 5, "none": 0}, "received": 60, "received_unknown": 0,
        "messages": 61,
    }  # fmt: skip


def run(*argv: str) -> tuple[int, list[Any]]:
    asked: list[Any] = []
    phases = iter(("correcting", "correcting"))

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.method, request.path, await request.json() if request.can_read_body else None))
        if request.headers["Authorization"] != "Bearer secret":
            return web.json_response({}, status=401)
        if request.path.endswith("/export"):
            return web.Response(body=b"lines")
        if request.path.endswith("/pause"):
            return web.json_response({"detail": "the incident is done: too late"}, status=409)
        phase = next(phases, "done")
        return web.json_response(incident(phase, DONE if phase == "done" else COUNTS))

    async def play() -> int:
        app = web.Application()
        app.add_routes([web.route("*", "/{path:.*}", answer)])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            return await main(["--url", f"http://127.0.0.1:{runner.addresses[0][1]}", *argv])
        finally:
            await runner.cleanup()

    return asyncio.run(play()), asked


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_TOKEN", "secret")
    monkeypatch.setattr("weir.incidents.PEEK_SECONDS", 0)


def test_a_correction_is_watched_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    code, asked = run("correct", "abc", "--text", "更正", "--json")
    assert code == 0
    assert asked[0] == (
        "POST",
        "/api/incidents/abc/correction",
        {"content": {"type": "text", "content": "更正"}, "include_unknown": False},
    )
    assert json.loads(capsys.readouterr().out)["recipients"] == DONE


def test_an_incident_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "abc")[0] == 0
    shown = capsys.readouterr().out
    assert "60 followers got 61 messages" in shown
    assert "custom 55, mass 5, none 0" in shown


def test_a_refusal_says_why(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("pause", "abc")[0] == 1
    assert "too late" in capsys.readouterr().err
    monkeypatch.setenv("WEIR_TOKEN", "another")
    assert run("show", "abc")[0] == 1
    assert "WEIR_TOKEN" in capsys.readouterr().err


def test_an_export_is_its_owners_alone(tmp_path: Path) -> None:
    target = tmp_path / "incident.csv"
    assert run("export", "abc", "--format", "csv", "--output", str(target))[0] == 0
    assert target.read_bytes() == b"lines"
    assert target.stat().st_mode & 0o777 == 0o600


def test_the_progress_is_one_line() -> None:
    assert line(incident("correcting", COUNTS)) == "correcting [###############     ] 45/60, 40 corrected"
    empty = dict.fromkeys(COUNTS, 0)
    assert line(incident("open", empty)).endswith("0/0, 0 corrected")
