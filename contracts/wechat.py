"""What WeChat says: every message and event kind as a typed view, and an unknown kind that loses nothing.

On the bus ``data`` holds the platform's own fields under their own names (from XML all values are strings); the
structs here read them, tolerant of strings for numbers and of fields they do not know. An event whose fields do not
fit its struct becomes ``Unknown``: odd input is kept and recorded, never an error. Source: the platform's pages
"Receiving standard messages", "Receiving event pushes" and the pages of each feature.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

MESSAGE = "wechat.message."
EVENT = "wechat.event."


class _Base(msgspec.Struct, rename="pascal", kw_only=True):
    to_user_name: str
    from_user_name: str
    create_time: int
    """Seconds since the epoch, by WeChat's clock."""
    msg_type: str


# -- messages ------------------------------------------------------------------------------------------------------


class Message(_Base, kw_only=True):
    msg_id: int = 0
    msg_data_id: str = ""
    """Of the article the message was sent from, with ``idx``; empty for a chat message."""
    idx: str = ""


class TextMessage(Message, kw_only=True):
    content: str = ""
    biz_msg_menu_id: str = msgspec.field(name="bizmsgmenuid", default="")
    """Which entry of a msgmenu was tapped, if it was one."""


class ImageMessage(Message, kw_only=True):
    pic_url: str = ""
    media_id: str = ""


class VoiceMessage(Message, kw_only=True):
    media_id: str = ""
    format: str = ""
    recognition: str | None = ""


class VideoMessage(Message, kw_only=True):
    """``video`` and ``shortvideo``."""

    media_id: str = ""
    thumb_media_id: str = ""


class LocationMessage(Message, kw_only=True):
    location_x: float = msgspec.field(name="Location_X")
    """Latitude in degrees."""
    location_y: float = msgspec.field(name="Location_Y")
    """Longitude in degrees."""
    scale: float = 0
    label: str | None = ""


class LinkMessage(Message, kw_only=True):
    title: str | None = ""
    description: str | None = ""
    url: str | None = ""


class FileMessage(Message, kw_only=True):
    """A file; the platform gives no MediaId for it."""

    title: str | None = ""
    description: str | None = ""
    file_key: str = ""
    file_md5: str = ""
    file_total_len: int = 0


class MiniProgramPageMessage(Message, kw_only=True):
    title: str | None = ""
    app_id: str = ""
    page_path: str = ""
    thumb_url: str = ""
    thumb_media_id: str = ""


# -- events --------------------------------------------------------------------------------------------------------


class HappenedEvent(_Base, kw_only=True):
    event: str
    event_key: str | None = ""


class SubscribeEvent(HappenedEvent, kw_only=True):
    """Followed; ``event_key`` is ``qrscene_<scene>`` when it was through a QR code."""

    ticket: str = ""


class UnsubscribeEvent(HappenedEvent, kw_only=True):
    """No longer follows: the platform requires that the follower's data be deleted."""


class ScanEvent(HappenedEvent, kw_only=True):
    """A follower scanned a QR code; ``event_key`` is the scene."""

    ticket: str = ""


class LocationEvent(HappenedEvent, kw_only=True):
    """The follower's position, reported as often as every 5 seconds."""

    latitude: float = 0
    longitude: float = 0
    precision: float = 0


class MenuEvent(HappenedEvent, kw_only=True):
    """CLICK, VIEW, view_miniprogram."""

    menu_id: str | None = ""


class ScanCodeEvent(HappenedEvent, kw_only=True):
    """scancode_push, scancode_waitmsg."""

    scan_code_info: dict[str, Any] = {}


class PictureEvent(HappenedEvent, kw_only=True):
    """pic_sysphoto, pic_photo_or_album, pic_weixin."""

    send_pics_info: dict[str, Any] = {}


class LocationSelectEvent(HappenedEvent, kw_only=True):
    send_location_info: dict[str, Any] = {}


class TemplateJobFinishEvent(HappenedEvent, kw_only=True):
    """TEMPLATESENDJOBFINISH: ``status`` is success, ``failed:user block``, ``failed: system failed``, ..."""

    msg_id: int = msgspec.field(name="MsgID")
    status: str = ""


class MassJobFinishEvent(HappenedEvent, kw_only=True):
    """MASSSENDJOBFINISH; it may never come."""

    msg_id: int = msgspec.field(name="MsgID")
    status: str = ""
    total_count: int = 0
    filter_count: int = 0
    sent_count: int = 0
    error_count: int = 0


class SessionEvent(HappenedEvent, kw_only=True):
    """kf_create_session, kf_close_session, kf_switch_session of WeChat's own desk."""

    kf_account: str = ""
    from_kf_account: str = ""
    to_kf_account: str = ""


class SubscriptionNoticeEvent(HappenedEvent, kw_only=True):
    """subscribe_msg_popup_event, subscribe_msg_change_event, subscribe_msg_sent_event; the lists are kept as sent."""

    subscribe_msg_popup_event: Any = None
    subscribe_msg_change_event: Any = None
    subscribe_msg_sent_event: Any = None


class AuthorizationEvent(HappenedEvent, kw_only=True):
    """user_info_modified, user_authorization_revoke, user_authorization_cancellation.

    The person is in ``open_id``, not in ``from_user_name``.
    """

    open_id: str = msgspec.field(name="OpenID")
    app_id: str = msgspec.field(name="AppID", default="")
    revoke_info: str | None = ""


class PublishJobFinishEvent(HappenedEvent, kw_only=True):
    publish_event_info: dict[str, Any] = {}


class Unknown(msgspec.Struct):
    """A kind that is not known here, whole: every field under the platform's own name."""

    fields: dict[str, Any]


Inbound = _Base | Unknown

MESSAGES: Mapping[str, type[Message]] = {
    "text": TextMessage,
    "image": ImageMessage,
    "voice": VoiceMessage,
    "video": VideoMessage,
    "shortvideo": VideoMessage,
    "location": LocationMessage,
    "link": LinkMessage,
    "file": FileMessage,
    "miniprogrampage": MiniProgramPageMessage,
}
"""Struct by MsgType."""

EVENTS: Mapping[str, type[HappenedEvent]] = {
    "subscribe": SubscribeEvent,
    "unsubscribe": UnsubscribeEvent,
    "scan": ScanEvent,
    "location": LocationEvent,
    "click": MenuEvent,
    "view": MenuEvent,
    "view_miniprogram": MenuEvent,
    "scancode_push": ScanCodeEvent,
    "scancode_waitmsg": ScanCodeEvent,
    "pic_sysphoto": PictureEvent,
    "pic_photo_or_album": PictureEvent,
    "pic_weixin": PictureEvent,
    "location_select": LocationSelectEvent,
    "templatesendjobfinish": TemplateJobFinishEvent,
    "masssendjobfinish": MassJobFinishEvent,
    "kf_create_session": SessionEvent,
    "kf_close_session": SessionEvent,
    "kf_switch_session": SessionEvent,
    "subscribe_msg_popup_event": SubscriptionNoticeEvent,
    "subscribe_msg_change_event": SubscriptionNoticeEvent,
    "subscribe_msg_sent_event": SubscriptionNoticeEvent,
    "user_info_modified": AuthorizationEvent,
    "user_authorization_revoke": AuthorizationEvent,
    "user_authorization_cancellation": AuthorizationEvent,
    "publishjobfinish": PublishJobFinishEvent,
}
"""Struct by Event in lower case. Card and verification events, and those yet to come, are ``Unknown``."""

INTERACTIONS = frozenset({"click", "scancode_push", "scancode_waitmsg", "subscribe", "scan"})
"""Events that open the 1-minute allowance of 3 sends [platform: customer service messages]."""


def event_type(fields: Mapping[str, Any]) -> str:
    """The CloudEvents type of a callback: ``wechat.message.<MsgType>`` or ``wechat.event.<event in lower case>``.

    It is part of the routing key, which AMQP bounds at 255 bytes, so a kind that is no plain word is ``other`` here;
    its name stays in the data.
    """
    if fields["MsgType"] == "event":
        return EVENT + _word(str(fields["Event"]).lower())
    return MESSAGE + _word(str(fields["MsgType"]))


def _word(kind: str) -> str:
    return kind if _WORD.fullmatch(kind) else OTHER


def subject(fields: Mapping[str, Any]) -> str:
    """Whom a callback is about. In the authorization events the person is in OpenID."""
    if fields["MsgType"] == "event" and str(fields["Event"]).lower() in _PERSON_IN_OPENID:
        person = fields.get("OpenID")
        if isinstance(person, str) and _OPENID.fullmatch(person):
            return person
    return str(fields["FromUserName"])


OTHER = "other"
_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OPENID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PERSON_IN_OPENID = frozenset({"user_info_modified", "user_authorization_revoke", "user_authorization_cancellation"})


def struct_of(event_type: str) -> type[_Base] | None:
    """The struct of an event type, or None when the kind is not known."""
    if event_type.startswith(MESSAGE):
        return MESSAGES.get(event_type.removeprefix(MESSAGE))
    return EVENTS.get(event_type.removeprefix(EVENT))


_fields = msgspec.json.Decoder(dict[str, Any])


@cache
def _decoder(kind: type[_Base]) -> msgspec.json.Decoder[Any]:
    """Made once for each kind: making one costs more than decoding with it."""
    return msgspec.json.Decoder(kind, strict=False)


def view(event_type: str, data: bytes | msgspec.Raw) -> Inbound:
    """The typed view of an inbound event's data. Never raises for a JSON object: what does not fit is ``Unknown``."""
    kind = struct_of(event_type)
    if kind is None:
        return Unknown(_fields.decode(data))
    try:
        seen: Inbound = _decoder(kind).decode(data)
        return seen
    except msgspec.ValidationError:
        fields = _fields.decode(data)
    # The JSON push format has numbers where XML has text (MenuId): read once more, as XML would have said it.
    as_text = {name: str(value) if type(value) in (int, float) else value for name, value in fields.items()}
    try:
        return msgspec.convert(as_text, kind, strict=False)
    except msgspec.ValidationError:
        return Unknown(fields)


def said(inbound: Inbound) -> str:
    """What a follower said, as a line of text: the words of a voice, a place's name, a link's title, a menu's key."""
    text: str | None = ""
    match inbound:
        case TextMessage():
            text = inbound.content
        case VoiceMessage():
            text = inbound.recognition
        case LocationMessage():
            text = inbound.label
        case LinkMessage() | FileMessage() | MiniProgramPageMessage():
            text = inbound.title
        case HappenedEvent():
            text = inbound.event_key
    return text or ""
