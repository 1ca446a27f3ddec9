"""Temporary media in the sandbox: uploaded, shown, limited, forgotten after three days."""

import aiohttp
import pytest
from boxes import Box

from sandbox.phonepage import _PNG


async def upload(box: Box, kind: str, content: bytes) -> dict:
    form = aiohttp.FormData()
    form.add_field("media", content, filename="a.bin", content_type="application/octet-stream")
    url = box.server.make_url("/cgi-bin/media/upload")
    async with box.http.post(url, params={"access_token": await box.token(), "type": kind}, data=form) as response:
        return await response.json()


async def test_an_upload_is_sent_shown_and_forgotten_after_three_days(box: Box) -> None:
    media_id = (await upload(box, "image", _PNG))["media_id"]
    openid = await box.follower()
    await box.say(openid)
    assert await box.custom(await box.token(), openid, "image", media_id=media_id) == 0
    async with box.http.get(box.server.make_url(f"/sandbox/media/{media_id}")) as response:
        assert (response.content_type, await response.read()) == ("image/png", _PNG)
    await box.advance(3 * 86_400)
    await box.say(openid)
    assert await box.custom(await box.token(), openid, "image", media_id=media_id) == 40007


@pytest.mark.parametrize(
    ("kind", "content", "errcode"),
    [
        ("picture", _PNG, 40004),
        ("video", _PNG, 40005),
        ("image", b"", 44001),
        ("image", _PNG + bytes(10 * 1024 * 1024), 40009),
        ("thumb", b"\xff\xd8\xff" + bytes(64 * 1024), 40012),
        ("image", bytes(11 * 1024 * 1024), 45001),
        ("voice", b"#!AMR\n" + (b"\x3c" + bytes(31)) * 3001, 45007),
    ],
)
async def test_what_the_platform_refuses(box: Box, kind: str, content: bytes, errcode: int) -> None:
    assert (await upload(box, kind, content))["errcode"] == errcode
