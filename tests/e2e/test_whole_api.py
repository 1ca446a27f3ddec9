"""The whole API as it describes itself: whatever fits or does not fit the description, no 5xx and no mismatch."""

import asyncio
import sys

from running import RunningWeir
from wechat import Client

CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance,ignored_auth"


async def test_it_is_as_it_says(weir: RunningWeir, client: Client) -> None:
    openid = await client.follower()
    await client.say(openid, "你好")  # so that there is something to list
    await client.stored(openid, 2)
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{weir.address}/api/openapi.json"),
        *("-H", f"Authorization: Bearer {weir.admin_token}", "--checks", CHECKS, "--max-examples", "12", "--seed", "1"),
        *("--phases", "examples,coverage,fuzzing", "--exclude-path", "/api/setup", "--no-color"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(program.communicate(), 110)
    assert program.returncode == 0, out.decode()[-8000:]
    assert " 0 passed" not in out.decode()


async def test_it_needs_a_caller(client: Client) -> None:
    for path in ("messages", "sends", "users", "audit", "session"):
        answer = await client.ask("GET", f"{client.weir.address}/api/{path}")
        assert answer.status == 401, path
