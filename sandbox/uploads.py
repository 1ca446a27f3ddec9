"""Uploaded files: reading the form they come in, the platform's limits for each kind, and where they are kept.

Sources: WeChat's pages "Temporary material / upload" and "Global return codes". The checks look at what the file is,
never at what its sender calls it.
"""

import re
from collections.abc import Mapping

import msgspec

from sandbox.errors import ApiError

MB = 1024 * 1024
MAX_BODY = 10 * MB + 64 * 1024
MAX_VOICE_SECONDS = 60
SHELF_BYTES = 256 * MB


class File(msgspec.Struct, frozen=True):
    content: bytes
    content_type: str
    filename: str


class Shelf:
    """The bytes of uploads, in memory only: a state file keeps their ids. The oldest leave when there are too many."""

    def __init__(self, most: int = SHELF_BYTES) -> None:
        self._most = most
        self._files: dict[str, File] = {}
        self._size = 0

    def put(self, media_id: str, file: File) -> None:
        self._files[media_id] = file
        self._size += len(file.content)
        while self._size > self._most:
            self._size -= len(self._files.pop(next(iter(self._files))).content)

    def get(self, media_id: str) -> File | None:
        return self._files.get(media_id)


class Kind(msgspec.Struct, frozen=True):
    """What one `type` of upload takes: content types, most bytes, and the errcode above that."""

    types: tuple[str, ...]
    most: int
    too_large: int


KINDS: Mapping[str, Kind] = {
    "image": Kind(("image/png", "image/jpeg", "image/gif"), 10 * MB, 40009),
    "voice": Kind(("audio/amr", "audio/mpeg"), 2 * MB, 40010),
    "video": Kind(("video/mp4",), 10 * MB, 40011),
    "thumb": Kind(("image/jpeg",), 64 * 1024, 40012),
}


def check(kind: str, content: bytes) -> str:
    """The content type of an upload of this kind. Raises ApiError as WeChat refuses it."""
    known = KINDS.get(kind)
    if known is None:
        raise ApiError(40004)
    if not content:
        raise ApiError(44001)
    if len(content) > known.most:
        raise ApiError(known.too_large)
    content_type = sniff(content)
    if content_type not in known.types:
        raise ApiError(40005)
    if kind == "voice" and _seconds(content) > MAX_VOICE_SECONDS:
        raise ApiError(45007)
    return content_type


def sniff(content: bytes) -> str:
    """The type of a file by its first bytes; empty when it is none that the platform takes."""
    for start, content_type in _STARTS:
        if content.startswith(start):
            return content_type
    if content[4:8] == b"ftyp":
        return "video/mp4"
    if len(content) > 1 and content[0] == 0xFF and content[1] & 0xE6 == 0xE2:  # sync bits, layer III
        return "audio/mpeg"
    return ""


_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"#!AMR\n", "audio/amr"),
    (b"ID3", "audio/mpeg"),
)

_AMR_BYTES = (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1)  # of a frame of 20 ms, by its mode
_MP3_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)


def _seconds(content: bytes) -> float:
    """How long a voice lasts: exactly for AMR; for MP3 as if its first frame's bit rate held to the end."""
    if content.startswith(b"#!AMR\n"):
        at, frames = 6, 0
        while at < len(content):
            at += _AMR_BYTES[content[at] >> 3 & 15]
            frames += 1
        return frames * 0.02
    start = 0
    if content.startswith(b"ID3") and len(content) > 10:
        start = 10 + sum((byte & 127) << shift for byte, shift in zip(content[6:10], (21, 14, 7, 0), strict=True))
    at = content.find(b"\xff", start)
    if at < 0 or at + 2 >= len(content):
        raise ApiError(40005)
    kbits = _MP3_KBITS[content[at + 2] >> 4]
    if not content[at + 1] & 8:  # MPEG 2: half the rates, nearly
        kbits //= 2
    if not kbits:
        raise ApiError(40005)
    return (len(content) - at) / (kbits * 125)


_BOUNDARY = re.compile(r'boundary="?([^";,]{1,200})', re.IGNORECASE)
_NAMED = re.compile(rb'\bname="?([^";\r\n]*)', re.IGNORECASE)
_FILENAME = re.compile(rb'\bfilename="?([^";\r\n]*)', re.IGNORECASE)


def read_form(raw: bytes, content_type: str, field: str) -> tuple[str, bytes]:
    """The file in one field of a multipart form: its name and its bytes. Raises ApiError 41005 when there is none."""
    found = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/form-data") or found is None:
        raise ApiError(41005)
    fence = b"\r\n--" + found.group(1).encode()
    for part in (b"\r\n" + raw).split(fence)[1:]:
        head, divided, content = part.partition(b"\r\n\r\n")
        named, filename = _NAMED.search(head), _FILENAME.search(head)
        if divided and named and named.group(1).decode(errors="replace") == field and filename:
            return filename.group(1).decode(errors="replace") or "media", content
    raise ApiError(41005)
