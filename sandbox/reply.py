"""The passive reply: what an account's server answered to a callback, read as strictly as the platform reads it."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.accounts import Account
from sandbox.crypto import CryptoError, aes_key_bytes, decrypt, sign
from sandbox.followers import Entry
from sandbox.jsontext import NotJsonError, read_json_object

MAX_TEXT = 2048  # bytes of UTF-8
MAX_ARTICLES = 8


class BadReplyError(Exception):
    """An answer the platform would not accept; the text says what is wrong with it."""


def read_reply(account: Account, body: bytes, openid: str, now: float, *, to_message: bool) -> Entry | None:
    """What the phone shows for an answer: None for `success` or nothing at all, else type, content and fields.

    Raises BadReplyError for everything else. `to_message` says whether a message is answered rather than an
    event, which limits a news reply to one article.
    """
    if body in (b"", b"success"):
        return None
    fields = _open(account, _parse(account, body))
    if fields.get("ToUserName") != openid:
        raise BadReplyError("ToUserName is not the follower's openid (To and From must be swapped)")
    if fields.get("FromUserName") != account.config.original_id:
        raise BadReplyError("FromUserName is not the account's original id (To and From must be swapped)")
    if not str(fields.get("CreateTime", "")).isdigit():
        raise BadReplyError("CreateTime is not a number of seconds")
    kind = fields.get("MsgType")
    if not isinstance(kind, str) or kind not in _READERS:
        raise BadReplyError(f"MsgType {kind!r} is no passive reply")
    reader = _Reader(account, fields, now, to_message=to_message)
    return {"type": kind, **_READERS[kind](reader)}


def _parse(account: Account, body: bytes) -> dict[str, Any]:
    """The fields of an XML answer, or of a JSON one where the account takes JSON."""
    if account.config.format == "json" and body.lstrip()[:1] == b"{":
        try:
            return read_json_object(body)
        except NotJsonError as error:
            raise BadReplyError(f"the answer is not JSON: {error}") from error
    try:
        parser = ET.XMLParser(target=_NoDoctype())  # noqa: S314 (entities need a DOCTYPE, which it refuses)
        root = ET.fromstring(body, parser)  # noqa: S314 (as above)
    except (ET.ParseError, LookupError, ValueError) as error:  # the last two: an encoding that it does not know
        raise BadReplyError(f"the answer is neither `success` nor XML: {error}") from error
    if root.tag != "xml":
        raise BadReplyError("the answer's root element is not <xml>")
    try:
        return _fields(root)
    except RecursionError as error:
        raise BadReplyError("the answer is nested too deeply") from error


class _NoDoctype(ET.TreeBuilder):
    def doctype(self, _name: str, _public: str | None, _system: str | None) -> None:
        raise BadReplyError("the answer has a DOCTYPE")


def _fields(element: ET.Element) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for child in element:
        value = _fields(child) if len(child) else (child.text or "")
        if child.tag == "item":
            fields.setdefault("item", []).append(value)
        elif child.tag in fields:
            raise BadReplyError(f"<{child.tag}> comes twice")
        else:
            fields[child.tag] = value
    return fields


def _open(account: Account, fields: dict[str, Any]) -> dict[str, Any]:
    """Decrypt an encrypted answer; refuse one that the account's mode does not allow."""
    config = account.config
    sealed = fields.get("Encrypt")
    if sealed is None:
        if config.mode == "safe":
            raise BadReplyError("the answer is not encrypted, but the account is in safe mode")
        return fields
    if config.mode == "plain" or config.aes_key is None:
        raise BadReplyError("the answer is encrypted, but the account is in plain mode")
    stamp, nonce = str(fields.get("TimeStamp", "")), str(fields.get("Nonce", ""))
    if fields.get("MsgSignature") != sign(config.token, stamp, nonce, str(sealed)):
        raise BadReplyError("MsgSignature does not fit the encrypted answer")
    try:
        clear = decrypt(str(sealed), aes_key_bytes(config.aes_key), config.appid)
    except CryptoError as error:
        raise BadReplyError(f"the encrypted answer does not open: {error}") from error
    return _parse(account, clear)


class _Reader:
    """Reads the part of a reply that belongs to its type."""

    def __init__(self, account: Account, fields: Mapping[str, Any], now: float, *, to_message: bool) -> None:
        self.account = account
        self.fields = fields
        self.now = now
        self.to_message = to_message

    def text(self) -> Entry:
        content = self.fields.get("Content")
        if not isinstance(content, str) or not content:
            raise BadReplyError("Content is empty")
        if len(content.encode()) > MAX_TEXT:
            raise BadReplyError(f"Content is longer than {MAX_TEXT} bytes")
        return {"content": content}

    def image(self) -> Entry:
        return {"content": "[图片]", "media_id": self._media(self._part("Image"), "MediaId")}

    def voice(self) -> Entry:
        return {"content": "[语音]", "media_id": self._media(self._part("Voice"), "MediaId")}

    def video(self) -> Entry:
        part = self._part("Video")
        title = str(part.get("Title", ""))
        return {
            "content": f"[视频] {title}".rstrip(),
            "media_id": self._media(part, "MediaId"),
            "title": title,
            "description": str(part.get("Description", "")),
        }

    def music(self) -> Entry:
        part = self._part("Music")
        title = str(part.get("Title", ""))
        return {
            "content": f"[音乐] {title}".rstrip(),
            "title": title,
            "description": str(part.get("Description", "")),
            "musicurl": str(part.get("MusicUrl", "")),
            "hqmusicurl": str(part.get("HQMusicUrl", "")),
            "thumb_media_id": self._media(part, "ThumbMediaId"),
        }

    def news(self) -> Entry:
        items = self._part("Articles").get("item", [])
        articles = [
            {name.lower(): str(item.get(name, "")) for name in ("Title", "Description", "PicUrl", "Url")}
            for item in (items if isinstance(items, list) else [items])
            if isinstance(item, Mapping)
        ]
        if not articles or str(self.fields.get("ArticleCount")) != str(len(articles)):
            raise BadReplyError("ArticleCount is not the number of articles")
        most = 1 if self.to_message else MAX_ARTICLES
        if len(articles) > most:
            raise BadReplyError(f"{len(articles)} articles where at most {most} may stand")
        return {"content": f"[图文] {articles[0]['title']}".rstrip(), "articles": articles}

    def transfer(self) -> Entry:
        info = self.fields.get("TransInfo")
        desk = str(info.get("KfAccount", "")) if isinstance(info, Mapping) else ""
        return {"content": "[转接人工客服]", "kf_account": desk}

    def _part(self, name: str) -> Mapping[str, Any]:
        part = self.fields.get(name)
        if not isinstance(part, Mapping):
            raise BadReplyError(f"<{name}> is missing")
        return part

    def _media(self, part: Mapping[str, Any], name: str) -> str:
        media_id = part.get(name)
        if not self.account.has_media(media_id, self.now):
            raise BadReplyError(f"{name} names no media of this account (or it is older than 3 days)")
        return str(media_id)


_READERS: dict[str, Callable[[_Reader], Entry]] = {
    "text": _Reader.text,
    "image": _Reader.image,
    "voice": _Reader.voice,
    "video": _Reader.video,
    "music": _Reader.music,
    "news": _Reader.news,
    "transfer_customer_service": _Reader.transfer,
}
