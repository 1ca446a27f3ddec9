"""A picture from the media library is an answer: added, named in a rule, shown on the phone."""

import struct
import zlib
from pathlib import Path

from conftest import Registry
from running import RunningWeir
from wechat import Client, until

RULES = """\
version: 2
rules:
  - {id: map, when: {text: {exact: ["地图"]}}, reply: {type: image, media: map}}
"""


def png() -> bytes:
    """The smallest picture there is."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


async def test_a_picture_is_an_answer(weir: RunningWeir, client: Client, registry: Registry, tmp_path: Path) -> None:
    await registry.add(client, "pictures", "plain")
    rules, picture, big = tmp_path / "rules.yaml", tmp_path / "map.png", tmp_path / "big.png"
    rules.write_text(RULES, encoding="utf-8")
    picture.write_bytes(png())
    big.write_bytes(png() + bytes(11 * 1024 * 1024))

    # Rules that name what is not there are refused, and so is what WeChat would not take.
    status, _, err = await weir.command("rules", "publish", "pictures", str(rules))
    assert (status, "'map'" in err) == (1, True), err
    status, _, err = await weir.command("media", "add", "pictures", "map", str(big))
    assert status == 1
    assert "10 MB" in err, err

    status, out, err = await weir.command("media", "add", "pictures", "map", str(picture))
    assert status == 0, err
    assert "map: image" in out

    async def published() -> int:
        return (await weir.command("rules", "publish", "pictures", str(rules)))[0]

    await until(published, lambda status: status == 0, 10)

    async def listed() -> str:
        return (await weir.command("media", "list", "pictures"))[1]

    await until(listed, lambda out: "until" in out, 20)

    async def answered() -> list[dict[str, object]]:
        openid = await client.follower("pictures")
        await client.say(openid, "地图")
        return await client.inbox(openid)

    (shown,) = await until(answered, bool, 10)
    assert (shown["type"], shown["via"]) == ("image", "passive")
    status, _, err = await weir.command("media", "remove", "pictures", "map")
    assert status == 1
    assert "published rules use it" in err
