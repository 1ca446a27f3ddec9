"""What a follower can be shown: the content of a passive reply or a customer-service message.

On the bus and in the rule files a content is a JSON object with a ``type``. Field names follow the platform's
customer-service API; the passive reply XML is rendered from the same structs. Source of the kinds: WeChat's pages
"Passive user reply message" and "Customer service message / send".

A content that shows a file has exactly one of the platform's id (``media_id``), which lives for 3 days, and the file's
name in the account's media library (``media``), for which an id is put in when it is sent.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec


def _one_of(given: msgspec.Struct, media_id: str, name: str) -> None:
    """Raise ``ValueError`` unless exactly one of the two fields is filled; msgspec tells it with the field's path."""
    if bool(getattr(given, media_id)) == bool(getattr(given, name)):
        raise ValueError(
            f"needs exactly one of `{name}` (a name of the media library, see `weir media list`) and `{media_id}`"
        )


class Text(msgspec.Struct, frozen=True, tag_field="type", tag="text", omit_defaults=True, forbid_unknown_fields=True):
    content: str


class Image(msgspec.Struct, frozen=True, tag_field="type", tag="image", omit_defaults=True, forbid_unknown_fields=True):
    media_id: str = ""
    media: str = ""

    def __post_init__(self) -> None:
        _one_of(self, "media_id", "media")


class Voice(msgspec.Struct, frozen=True, tag_field="type", tag="voice", omit_defaults=True, forbid_unknown_fields=True):
    media_id: str = ""
    media: str = ""

    def __post_init__(self) -> None:
        _one_of(self, "media_id", "media")


class Video(msgspec.Struct, frozen=True, tag_field="type", tag="video", omit_defaults=True, forbid_unknown_fields=True):
    media_id: str = ""
    title: str = ""
    description: str = ""
    media: str = ""

    def __post_init__(self) -> None:
        _one_of(self, "media_id", "media")


class Music(msgspec.Struct, frozen=True, tag_field="type", tag="music", omit_defaults=True, forbid_unknown_fields=True):
    thumb_media_id: str = ""
    title: str = ""
    description: str = ""
    url: str = ""
    hq_url: str = ""
    thumb_media: str = ""

    def __post_init__(self) -> None:
        _one_of(self, "thumb_media_id", "thumb_media")


class Article(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    title: str
    url: str
    description: str = ""
    pic_url: str = ""


class News(msgspec.Struct, frozen=True, tag_field="type", tag="news", omit_defaults=True, forbid_unknown_fields=True):
    """One article when it answers a message; up to eight otherwise, passively; one by customer-service message."""

    articles: tuple[Article, ...]


class MenuItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    text: str


class MsgMenu(
    msgspec.Struct, frozen=True, tag_field="type", tag="msgmenu", omit_defaults=True, forbid_unknown_fields=True
):
    """A menu of choices in the chat; only the customer-service API can send it."""

    items: tuple[MenuItem, ...]
    head: str = ""
    tail: str = ""


class MiniProgramPage(
    msgspec.Struct, frozen=True, tag_field="type", tag="miniprogrampage", omit_defaults=True, forbid_unknown_fields=True
):
    """A mini-program card; only the customer-service API can send it."""

    title: str
    appid: str
    pagepath: str
    thumb_media_id: str = ""
    thumb_media: str = ""

    def __post_init__(self) -> None:
        _one_of(self, "thumb_media_id", "thumb_media")


Content = Text | Image | Voice | Video | Music | News | MsgMenu | MiniProgramPage

API_ONLY = (MsgMenu, MiniProgramPage)
"""Kinds that a passive reply cannot carry: they leave through the courier."""


MEDIA_KINDS = ("image", "voice", "video", "thumb")
"""Kinds of file that the platform takes; a thumb is the small picture of a music or mini-program card."""

_FIELDS = {
    Image: ("image", "media_id", "media"),
    Voice: ("voice", "media_id", "media"),
    Video: ("video", "media_id", "media"),
    Music: ("thumb", "thumb_media_id", "thumb_media"),
    MiniProgramPage: ("thumb", "thumb_media_id", "thumb_media"),
}
"""For each content that shows a file: the file's kind, and the fields of its id and of its name."""


def media_names(content: Content) -> dict[str, str]:
    """The names of the media library that this content uses, each with the kind of file it must be there."""
    if (fields := _FIELDS.get(type(content))) is None:
        return {}
    kind, _, name = fields
    return {given: kind} if (given := getattr(content, name)) else {}


def media_ids(content: Content) -> tuple[str, ...]:
    """The platform's media ids that stand in this content."""
    if (fields := _FIELDS.get(type(content))) is None:
        return ()
    return (given,) if (given := getattr(content, fields[1])) else ()


def with_media(content: Content, lookup: Callable[[str, str], str | None]) -> Content | None:
    """The content with an id in place of each name; None when one is missing.

    ``lookup`` gives the id for a name and a kind, or None. Content that uses no name is returned as it is.
    """
    for name, kind in media_names(content).items():
        if (media_id := lookup(name, kind)) is None:
            return None
        _, id_field, name_field = _FIELDS[type(content)]
        return msgspec.structs.replace(content, **{id_field: media_id, name_field: ""})
    return content


def with_id(content: Content, media_id: str) -> Content:
    """The same content with another media id of the platform in place of its own."""
    return msgspec.structs.replace(content, **{_FIELDS[type(content)][1]: media_id})


def plain_text(content: Content) -> str:
    """A line of text for lists and search: the content itself, or what stands for it."""
    match content:
        case Text():
            return content.content
        case News():
            return " ".join(article.title for article in content.articles)
        case MsgMenu():
            return " ".join((content.head, *(item.text for item in content.items), content.tail)).strip()
        case Video() | Music() | MiniProgramPage():
            return content.title
        case _:
            return ""
