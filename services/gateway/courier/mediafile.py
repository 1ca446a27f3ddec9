"""What a file is, by its own bytes, and whether the platform takes it. Pure.

Nothing is decoded: the few header fields that matter are read, each with its bounds checked, because the file comes
from outside. What the sender calls it (name, content type) decides nothing. Source of the limits: WeChat's page
"Temporary material / upload".
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

KB, MB = 1024, 1024 * 1024
MAX_BYTES = 10 * MB
"""The most that any kind may have."""
MAX_VOICE_SECONDS = 60.0

LIMITS = {"image": 10 * MB, "voice": 2 * MB, "video": 10 * MB, "thumb": 64 * KB}
TYPES = {
    "image": ("image/png", "image/jpeg", "image/gif"),
    "voice": ("audio/amr", "audio/mpeg"),
    "video": ("video/mp4",),
    "thumb": ("image/jpeg",),
}
_KIND_OF = {content_type: kind for kind in ("video", "voice", "image") for content_type in TYPES[kind]}
_SHOWN = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "audio/amr": "AMR",
    "audio/mpeg": "MP3",
    "video/mp4": "MP4",
}
_MAKE_IT = {
    "image": "save it smaller, for example as a JPEG of lower quality",
    "voice": "shorten it or lower its bit rate",
    "video": "shorten it or lower its quality",
    "thumb": "a thumb is a small picture: 200 by 200 is enough",
}
ENDINGS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "audio/amr": ".amr",
    "audio/mpeg": ".mp3",
    "video/mp4": ".mp4",
}
_NAME = re.compile(r"\w[\w.-]{0,63}")


class MediaRefused(Exception):
    """The platform would not take this file. ``code`` is stable, the text says what is wrong and what to do."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class MediaFacts:
    """What was read from a file. ``seconds`` is of a voice; width and height, in pixels, of a picture."""

    kind: str
    content_type: str
    seconds: float = 0.0
    width: int = 0
    height: int = 0


def check_name(name: str) -> str:
    """The name as it is kept. Raises ``MediaRefused`` for one that cannot be used."""
    plain = unicodedata.normalize("NFC", name)
    if not _NAME.fullmatch(plain):
        raise MediaRefused("bad_name", "name: use 1 to 64 letters, digits, . _ and -, beginning with a letter or digit")
    return plain


def limit(kind: str) -> int:
    """The most bytes of a kind; of any kind when it is not known yet."""
    return LIMITS.get(kind, MAX_BYTES)


def too_large(kind: str) -> MediaRefused:
    """The refusal of a file that has more bytes than its kind may have."""
    most = limit(kind)
    shown = f"{most // MB} MB" if most >= MB else f"{most // KB} KB"
    what = f"a {kind}" if kind else "a file"
    return MediaRefused(
        "media_too_large", f"{what} may have {shown} at most: {_MAKE_IT.get(kind, 'make the file smaller')}"
    )


def read(content: bytes, kind: str = "") -> MediaFacts:
    """What this file is. ``kind`` is what it is to be used as; left out, it follows from the file.

    Raises ``MediaRefused`` when the platform would not take it, or when it is damaged.
    """
    if kind and kind not in LIMITS:
        raise MediaRefused("bad_kind", f"kind: must be one of {', '.join(LIMITS)}")
    if not content:
        raise MediaRefused("media_empty", "the file is empty: choose it again")
    content_type = sniff(content)
    kind = kind or _KIND_OF.get(content_type, "")
    if content_type not in TYPES.get(kind, ()):
        takes = ", ".join(_SHOWN[one] for one in TYPES.get(kind, _SHOWN))
        found = f"it is {_SHOWN[content_type]}" if content_type else "this file is none of them"
        raise MediaRefused("media_type", f"WeChat takes {takes} as {kind or 'media'}; {found}: convert it")
    if len(content) > LIMITS[kind]:
        raise too_large(kind)
    try:
        return _facts(kind, content_type, content)
    except (IndexError, ValueError):
        raise MediaRefused(
            "media_damaged", f"the {_SHOWN[content_type]} file is damaged or cut off: save it anew"
        ) from None


def sniff(content: bytes) -> str:
    """The content type by the first bytes; empty for what the platform takes as nothing."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if content.startswith(b"#!AMR\n"):
        return "audio/amr"
    if content[4:8] == b"ftyp":
        return "video/mp4"
    if content.startswith(b"ID3") or _mp3_frame(content, 0):
        return "audio/mpeg"
    return ""


def _facts(kind: str, content_type: str, content: bytes) -> MediaFacts:
    if kind == "voice":
        seconds = _amr_seconds(content) if content_type == "audio/amr" else _mp3_seconds(content)
        if seconds > MAX_VOICE_SECONDS:
            raise MediaRefused(
                "media_too_long",
                f"the voice lasts {seconds:.0f} s, at most {MAX_VOICE_SECONDS:.0f} s are taken: shorten it",
            )
        return MediaFacts(kind, content_type, seconds=round(seconds, 2))
    if kind == "video":
        if _number(content, 0, 4) > len(content):
            raise ValueError("its first box is longer than the file")
        return MediaFacts(kind, content_type)
    width, height = _SIZES[content_type](content)
    if not width or not height:
        raise ValueError("a picture without a size")
    return MediaFacts(kind, content_type, width=width, height=height)


def _number(content: bytes, at: int, size: int) -> int:
    found = content[at : at + size]
    if len(found) < size:
        raise ValueError("it ends too early")
    return int.from_bytes(found, "big")


def _png_size(content: bytes) -> tuple[int, int]:
    if content[12:16] != b"IHDR":
        raise ValueError("no header")
    return _number(content, 16, 4), _number(content, 20, 4)


def _gif_size(content: bytes) -> tuple[int, int]:
    _number(content, 6, 4)
    return int.from_bytes(content[6:8], "little"), int.from_bytes(content[8:10], "little")


_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})


def _jpeg_size(content: bytes) -> tuple[int, int]:
    at = 2
    while True:
        if content[at] != 0xFF:
            raise ValueError("no marker where one must be")
        while content[at] == 0xFF:  # a marker may be filled up with them
            at += 1
        marker = content[at]
        at += 1
        if marker in _JPEG_ALONE:
            continue
        length = _number(content, at, 2)
        if marker in _JPEG_FRAMES:
            return _number(content, at + 5, 2), _number(content, at + 3, 2)
        if marker in (0xD9, 0xDA) or length < 2:
            raise ValueError("the picture begins before its size is told")
        at += length


_SIZES = {"image/png": _png_size, "image/gif": _gif_size, "image/jpeg": _jpeg_size}

_AMR_FRAME_SECONDS = 0.02
# Bytes of a frame with its first byte, by its mode (RFC 4867, 5.3); modes that are not for storage have none.
_AMR_BYTES = {0: 13, 1: 14, 2: 16, 3: 18, 4: 20, 5: 21, 6: 27, 7: 32, 8: 6, 15: 1}


def _amr_seconds(content: bytes) -> float:
    at, frames = 6, 0
    while at < len(content):
        size = _AMR_BYTES.get(content[at] >> 3 & 15)
        if size is None:
            raise ValueError("no frame where one must be")
        at += size
        frames += 1
    if not frames:
        raise ValueError("no sound in it")
    return frames * _AMR_FRAME_SECONDS


# kbit/s of layer III by index; Hz by index, of MPEG 1. MPEG 2 has half of the rates, 2.5 a quarter.
_MP3_KBITS = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_HZ = (44100, 48000, 32000)
_MP3_DIVIDE = {3: 1, 2: 2, 0: 4}
_TAG_BYTES = 128
"""An ID3v1 tag at the end of the file."""


def _mp3_frame(content: bytes, at: int) -> tuple[int, float] | None:
    """Bytes and seconds of the frame that begins here; None when none does."""
    head = content[at : at + 3]
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:  # eleven bits of sync, layer III
        return None
    version, rate, hertz = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version not in _MP3_DIVIDE or hertz == 3 or not 0 < rate < 15:  # reserved, or "free" bit rate
        return None
    samples = 1152 if version == 3 else 576
    speed = _MP3_HZ[hertz] // _MP3_DIVIDE[version]
    kbits = _MP3_KBITS[3 if version == 3 else 2][rate]
    return samples * kbits * 125 // speed + (head[2] >> 1 & 1), samples / speed


def _mp3_seconds(content: bytes) -> float:
    at = 0
    if content.startswith(b"ID3"):
        size = sum((_number(content, 6 + place, 1) & 127) << 7 * (3 - place) for place in range(4))
        at = 10 + size + (10 if content[5] & 0x10 else 0)
    while at < len(content) and not _mp3_frame(content, at) and not content[at]:  # a tag may be followed by zeros
        at += 1
    seconds = 0.0
    while frame := _mp3_frame(content, at):
        at += frame[0]
        seconds += frame[1]
    rest = content[at:]
    if not seconds or (at < len(content) and not _tail(rest)):
        # Frames that cannot be followed to the end have a length that nobody can tell: the platform would guess.
        raise MediaRefused(
            "media_damaged", "how long the MP3 lasts cannot be read from its frames: save it anew as a plain MP3"
        )
    return seconds


def _tail(rest: bytes) -> bool:
    """Whether this may follow the last frame: tags, zeros, or a last frame that is cut off."""
    return rest[:3] in (b"TAG", b"ID3", b"APE", b"LYR") or not rest.strip(b"\0") or len(rest) < _TAG_BYTES
