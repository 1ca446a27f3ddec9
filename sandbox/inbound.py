"""What a follower does, put into the platform's words: the fields of each message and event a callback carries."""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from sandbox.accounts import Account
from sandbox.errors import ControlError
from sandbox.events import SERVER_EVENTS, event_fields
from sandbox.followers import Follower
from sandbox.world import World

Effect = Literal["message", "act", "none"]

MAX_TEXT = 2048  # bytes of UTF-8 in one text message

# Events that are a follower's own interaction and so open the one-minute window.
_ACTS = frozenset({"CLICK", "SCAN", "subscribe", "scancode_push", "scancode_waitmsg"})


class Inbound(msgspec.Struct, kw_only=True):
    """One thing to be pushed to an account's server."""

    label: str  # the MsgType, or the event's name
    sender: str  # FromUserName, also the `openid` of the query
    create_time: int
    fields: dict[str, Any] = {}
    raw: str | None = None  # sent as it is, instead of the fields
    msgid: int | None = None
    is_event: bool = False
    effect: Effect = "none"
    shown_on_phone: bool = True  # whether the follower sees what comes back
    content: str = ""  # one line for the phone
    details: dict[str, Any] = {}  # further fields for the phone's timeline


def build(world: World, account: Account, follower: Follower, spec: Mapping[str, Any]) -> Inbound:
    """The callback for a control request's `{"type": ...}`. Raises ControlError naming what is wrong with it."""
    kind = spec.get("type")
    if kind == "event":
        return _event(world, account, follower, spec)
    if kind == "raw":
        return _raw(world, follower, spec)
    if not isinstance(kind, str) or kind not in _MESSAGES:
        known = ", ".join([*_MESSAGES, "event", "raw"])
        raise ControlError(f"type: {kind!r} is no kind of message; known are {known}")
    return _message(world, account, follower, kind, spec)


def _message(world: World, account: Account, follower: Follower, kind: str, spec: Mapping[str, Any]) -> Inbound:
    table = _MESSAGES[kind]
    _refuse_unknown(spec, {"type", "fields", *table})
    values: dict[str, Any] = {}
    for key, (_, default) in table.items():
        values[key] = spec[key] if key in spec else default(world, account, kind)
    own = {table[key][0]: value for key, value in values.items() if value is not None}
    _check_values(kind, values)
    fields = {
        "ToUserName": account.config.original_id,
        "FromUserName": follower.openid,
        "CreateTime": int(world.clock.now()),
        "MsgType": kind,
        **own,
        "MsgId": world.next_msgid(),
    }
    fields = _with_extra(fields, spec)
    by_menu = values.get("menu_id") is not None
    return Inbound(
        label=kind,
        sender=follower.openid,
        create_time=fields["CreateTime"],
        fields=fields,
        msgid=fields["MsgId"],
        effect="act" if by_menu else "message",
        content=_summary(kind, values),
        details={key: value for key, value in values.items() if value is not None and key != "content"},
    )


def _event(world: World, account: Account, follower: Follower, spec: Mapping[str, Any]) -> Inbound:
    _refuse_unknown(spec, {"type", "event", "key", "scene", "fields"})
    name = spec.get("event")
    if not isinstance(name, str) or not name:
        raise ControlError('event: name the event, for example {"type": "event", "event": "CLICK", "key": "MENU_1"}')
    key = spec.get("scene", spec.get("key", ""))
    if not isinstance(key, str):
        raise ControlError("key and scene are texts")
    if name == "SCAN" and not follower.following:
        name, key = "subscribe", f"qrscene_{key}"  # a scan by somebody who does not follow yet is a follow
    elif name == "subscribe" and key and not key.startswith("qrscene_"):
        key = f"qrscene_{key}"
    fields = {
        "ToUserName": account.config.original_id,
        "FromUserName": follower.openid,
        "CreateTime": int(world.clock.now()),
        "MsgType": "event",
        "Event": name,
        **event_fields(name, key, account, follower),
    }
    fields = _with_extra(fields, spec)
    return Inbound(
        label=name,
        sender=str(fields["FromUserName"]),
        create_time=fields["CreateTime"],
        fields=fields,
        is_event=True,
        effect="act" if name in _ACTS else "none",
        shown_on_phone=name not in SERVER_EVENTS and name != "unsubscribe",
        content=f"[{name}] {key}".rstrip(),
        details={"event": name, "key": key},
    )


def _raw(world: World, follower: Follower, spec: Mapping[str, Any]) -> Inbound:
    _refuse_unknown(spec, {"type", "xml", "json"})
    text = spec.get("xml", spec.get("json"))
    if not isinstance(text, str):
        raise ControlError("raw: give the callback's body as a text under `xml` (or `json`)")
    return Inbound(
        label="raw",
        sender=follower.openid,
        create_time=int(world.clock.now()),
        raw=text,
        content="[raw]",
        is_event=False,
    )


def _refuse_unknown(spec: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(spec) - known)
    if unknown:
        raise ControlError(f"unknown field {unknown[0]!r}; a {spec['type']} may have {', '.join(sorted(known))}")


def _with_extra(fields: dict[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Add the request's `fields`: they go by the platform's names, replace what is there, and null takes one away."""
    extra = spec.get("fields", {})
    if not isinstance(extra, dict):
        raise ControlError("fields: an object of the platform's field names and values")
    for name in ("CreateTime", "MsgId"):
        if not isinstance(extra.get(name, 0), int):
            raise ControlError(f"fields: {name} is a whole number")
    return {name: value for name, value in {**fields, **extra}.items() if value is not None}


def _check_values(kind: str, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if value is not None and not isinstance(value, str | int | float):
            raise ControlError(f"{name}: a text or a number")
    if kind != "text":
        return
    content = values["content"]
    if not isinstance(content, str) or not content:
        raise ControlError("content: the text that the follower writes, not empty")
    if len(content.encode(errors="replace")) > MAX_TEXT:
        raise ControlError(f"content: WeChat's input box takes at most {MAX_TEXT} bytes")


def _summary(kind: str, values: Mapping[str, Any]) -> str:
    names = {"image": "图片", "voice": "语音", "video": "视频", "shortvideo": "小视频"}
    names |= {"location": "位置", "link": "链接", "file": "文件", "miniprogrampage": "小程序"}
    if kind == "text":
        return str(values["content"])
    told = values.get("recognition") or values.get("label") or values.get("title") or ""
    return f"[{names[kind]}] {told}".rstrip()


Default = Callable[[World, Account, str], Any]


def _given(value: Any) -> Default:
    return lambda _world, _account, _kind: value


def _media(world: World, account: Account, kind: str) -> str:
    return account.new_media(kind, world.clock.now())


def _thumb(world: World, account: Account, _kind: str) -> str:
    return account.new_media("thumb", world.clock.now())


def _picture(world: World, _account: Account, _kind: str) -> str:
    return f"{world.base_url}/sandbox/picture.png?n={secrets.token_hex(4)}"


def _md5(_world: World, _account: Account, _kind: str) -> str:
    return hashlib.md5(secrets.token_bytes(8), usedforsecurity=False).hexdigest()


# kind -> name in a control request -> (name on the platform, default; None leaves the field out)
_MESSAGES: dict[str, dict[str, tuple[str, Default]]] = {
    "text": {"content": ("Content", _given(None)), "menu_id": ("bizmsgmenuid", _given(None))},
    "image": {"pic_url": ("PicUrl", _picture), "media_id": ("MediaId", _media)},
    "voice": {
        "media_id": ("MediaId", _media),
        "format": ("Format", _given("amr")),
        "recognition": ("Recognition", _given(None)),
    },
    "video": {"media_id": ("MediaId", _media), "thumb_media_id": ("ThumbMediaId", _thumb)},
    "shortvideo": {"media_id": ("MediaId", _media), "thumb_media_id": ("ThumbMediaId", _thumb)},
    "location": {
        "latitude": ("Location_X", _given(22.540503)),
        "longitude": ("Location_Y", _given(113.934528)),
        "scale": ("Scale", _given(16)),
        "label": ("Label", _given("深圳市南山区科技园")),
    },
    "link": {
        "title": ("Title", _given("一篇文章")),
        "description": ("Description", _given("文章的摘要")),
        "url": ("Url", _given("https://mp.weixin.qq.com/s/example")),
    },
    "file": {
        "title": ("Title", _given("合同.pdf")),
        "description": ("Description", _given("")),
        "file_key": ("FileKey", lambda _w, _a, _k: secrets.token_urlsafe(24)),
        "file_md5": ("FileMd5", _md5),
        "file_total_len": ("FileTotalLen", _given(20480)),
    },
    "miniprogrampage": {
        "title": ("Title", _given("小程序卡片")),
        "appid": ("AppId", _given("wx0123456789abcdef")),
        "pagepath": ("PagePath", _given("pages/index/index")),
        "thumb_url": ("ThumbUrl", _picture),
        "thumb_media_id": ("ThumbMediaId", _thumb),
    },
}
MESSAGE_KINDS = tuple(_MESSAGES)
