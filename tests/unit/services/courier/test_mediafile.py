"""What a file is by its bytes, and what the platform would not take."""

import struct

import pytest

from services.gateway.courier.mediafile import MediaFacts, MediaRefused, check_name, read

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 3, 2) + bytes(9)
JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x0b\x08\x00\x02\x00\x03\x01\x01\x11\x00"
GIF = b"GIF89a" + struct.pack("<HH", 3, 2) + bytes(3)
AMR_SECOND = (b"\x3c" + bytes(31)) * 50
MP3_FRAME = b"\xff\xfb\x90\x00" + bytes(413)
MP4 = struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0)


@pytest.mark.parametrize(
    ("content", "kind", "facts"),
    [
        (PNG, "", MediaFacts("image", "image/png", width=3, height=2)),
        (JPEG, "", MediaFacts("image", "image/jpeg", width=3, height=2)),
        (JPEG, "thumb", MediaFacts("thumb", "image/jpeg", width=3, height=2)),
        (GIF, "", MediaFacts("image", "image/gif", width=3, height=2)),
        (b"#!AMR\n" + AMR_SECOND * 2, "", MediaFacts("voice", "audio/amr", seconds=2.0)),
        (MP3_FRAME * 100, "", MediaFacts("voice", "audio/mpeg", seconds=2.61)),
        (MP4, "", MediaFacts("video", "video/mp4")),
    ],
)
def test_a_file_is_what_its_bytes_say(content: bytes, kind: str, facts: MediaFacts) -> None:
    assert read(content, kind) == facts


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"", "", "media_empty"),
        (b"hello", "", "media_type"),
        (PNG, "voice", "media_type"),
        (PNG, "thumb", "media_type"),
        (PNG, "sticker", "bad_kind"),
        (PNG[:18], "", "media_damaged"),
        (JPEG[:12], "", "media_damaged"),
        (PNG + bytes(10 << 20), "", "media_too_large"),
        (JPEG + bytes(64 << 10), "thumb", "media_too_large"),
        (b"#!AMR\n" + AMR_SECOND * 61, "", "media_too_long"),
        (b"#!AMR\n", "", "media_damaged"),
        (MP3_FRAME * 3 + b"x" * 400, "", "media_damaged"),
    ],
)
def test_what_wechat_would_not_take_is_refused(content: bytes, kind: str, code: str) -> None:
    with pytest.raises(MediaRefused) as caught:
        read(content, kind)
    assert caught.value.code == code


def test_a_name_stands_in_addresses_and_rule_files() -> None:
    assert check_name("地图.1") == "地图.1"
    for wrong in ("", "a/b", "..", "a b", "x" * 65, "a|b"):
        with pytest.raises(MediaRefused):
            check_name(wrong)
