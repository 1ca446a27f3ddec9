"""Customer-service messages: what each type must look like, and how the phone shows it."""

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.accounts import Account
from sandbox.errors import ApiError
from sandbox.followers import Entry

MAX_TEXT = 2048  # bytes of UTF-8


def read_custom(account: Account, body: Mapping[str, Any], now: float) -> Entry:
    """What the phone shows for a request body: its type, a line of content and the type's own fields.

    Raises ApiError as WeChat refuses: 40008 for an unknown type, and the type's own codes.
    """
    kind = body.get("msgtype")
    if not isinstance(kind, str) or kind not in _READERS:
        raise ApiError(40008)
    part = body.get(kind)
    if not isinstance(part, Mapping):
        raise ApiError(47001, f"{kind} is missing")
    entry: Entry = {"type": kind, **_READERS[kind](part, account, now)}
    desk = body.get("customservice")
    if isinstance(desk, Mapping) and desk.get("kf_account"):
        entry["kf_account"] = str(desk["kf_account"])
    return entry


def _text(part: Mapping[str, Any], _account: Account, _now: float) -> Entry:
    return {"content": _limited(part.get("content"), "text.content")}


def _image(part: Mapping[str, Any], account: Account, now: float) -> Entry:
    return {"content": "[图片]", "media_id": _media(part.get("media_id"), account, now)}


def _voice(part: Mapping[str, Any], account: Account, now: float) -> Entry:
    return {"content": "[语音]", "media_id": _media(part.get("media_id"), account, now)}


def _video(part: Mapping[str, Any], account: Account, now: float) -> Entry:
    entry = {"media_id": _media(part.get("media_id"), account, now), **_words(part, "title", "description")}
    if part.get("thumb_media_id"):  # the page calls it required, but the platform sends without it
        entry["thumb_media_id"] = _media(part["thumb_media_id"], account, now)
    return {"content": f"[视频] {entry['title']}".rstrip(), **entry}


def _music(part: Mapping[str, Any], account: Account, now: float) -> Entry:
    entry = _words(part, "title", "description", "musicurl", "hqmusicurl")
    if not entry["musicurl"] or not entry["hqmusicurl"]:
        raise ApiError(47001, "music.musicurl and music.hqmusicurl are needed")
    entry["thumb_media_id"] = _media(part.get("thumb_media_id"), account, now)
    return {"content": f"[音乐] {entry['title']}".rstrip(), **entry}


def _news(part: Mapping[str, Any], _account: Account, _now: float) -> Entry:
    articles = part.get("articles")
    if not isinstance(articles, list) or not all(isinstance(a, Mapping) for a in articles):
        raise ApiError(47001, "news.articles is no list")
    if len(articles) != 1:
        raise ApiError(45008)
    shown = [_words(article, "title", "description", "url", "picurl") for article in articles]
    return {"content": f"[图文] {shown[0]['title']}".rstrip(), "articles": shown}


def _mpnews(part: Mapping[str, Any], account: Account, now: float) -> Entry:
    return {"content": "[图文]", "media_id": _media(part.get("media_id"), account, now)}


def _mpnewsarticle(part: Mapping[str, Any], _account: Account, _now: float) -> Entry:
    article = part.get("article_id")
    if not isinstance(article, str) or not article:
        raise ApiError(53600)
    return {"content": "[图文]", "article_id": article}


def _msgmenu(part: Mapping[str, Any], _account: Account, _now: float) -> Entry:
    items = part.get("list")
    if not isinstance(items, list) or not items:
        raise ApiError(47001, "msgmenu.list is empty")
    shown = []
    for item in items:
        if not isinstance(item, Mapping) or not item.get("id") or not item.get("content"):
            raise ApiError(47001, "msgmenu.list: every item has an id and a content")
        shown.append({"id": str(item["id"]), "content": _limited(item["content"], "msgmenu.list")})
    words = _words(part, "head_content", "tail_content")
    return {"content": words["head_content"] or "[菜单]", **words, "list": shown}


def _miniprogrampage(part: Mapping[str, Any], account: Account, now: float) -> Entry:
    entry = _words(part, "title", "appid", "pagepath")
    if not entry["appid"]:
        raise ApiError(40013)
    entry["thumb_media_id"] = _media(part.get("thumb_media_id"), account, now)
    return {"content": f"[小程序] {entry['title']}".rstrip(), **entry}


def _wxcard(part: Mapping[str, Any], _account: Account, _now: float) -> Entry:
    card = part.get("card_id")
    if not isinstance(card, str) or not card:
        raise ApiError(40073)
    return {"content": "[卡券]", "card_id": card}


def _words(part: Mapping[str, Any], *names: str) -> Entry:
    """Text fields, each empty when missing. Raises ApiError 47001 when one is something else than a text."""
    words: Entry = {}
    for name in names:
        value = part.get(name, "")
        if not isinstance(value, str):
            raise ApiError(47001, f"{name} is no text")
        words[name] = value
    return words


def _limited(content: object, name: str) -> str:
    if not isinstance(content, str):
        raise ApiError(47001, f"{name} is no text")
    if not content:
        raise ApiError(44004)
    if len(content.encode(errors="replace")) > MAX_TEXT:
        raise ApiError(45002)
    return content


def _media(media_id: object, account: Account, now: float) -> str:
    if not account.has_media(media_id, now):
        raise ApiError(40007)
    return str(media_id)


_READERS: dict[str, Callable[[Mapping[str, Any], Account, float], Entry]] = {
    "text": _text,
    "image": _image,
    "voice": _voice,
    "video": _video,
    "music": _music,
    "news": _news,
    "mpnews": _mpnews,
    "mpnewsarticle": _mpnewsarticle,
    "msgmenu": _msgmenu,
    "miniprogrampage": _miniprogrampage,
    "wxcard": _wxcard,
}
CUSTOM_KINDS = tuple(_READERS)
