"""What a follower can be shown: the content of a passive reply or a customer-service message.

On the bus and in the rule files a content is a JSON object with a ``type``. Field names follow the platform's
customer-service API; the passive reply XML is rendered from the same structs. Source of the kinds: WeChat's pages
"Passive user reply message" and "Customer service message / send".
"""

from __future__ import annotations

import msgspec


class Text(msgspec.Struct, frozen=True, tag_field="type", tag="text", omit_defaults=True, forbid_unknown_fields=True):
    content: str


class Image(msgspec.Struct, frozen=True, tag_field="type", tag="image", omit_defaults=True, forbid_unknown_fields=True):
    media_id: str


class Voice(msgspec.Struct, frozen=True, tag_field="type", tag="voice", omit_defaults=True, forbid_unknown_fields=True):
    media_id: str


class Video(msgspec.Struct, frozen=True, tag_field="type", tag="video", omit_defaults=True, forbid_unknown_fields=True):
    media_id: str
    title: str = ""
    description: str = ""


class Music(msgspec.Struct, frozen=True, tag_field="type", tag="music", omit_defaults=True, forbid_unknown_fields=True):
    thumb_media_id: str
    title: str = ""
    description: str = ""
    url: str = ""
    hq_url: str = ""


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
    thumb_media_id: str


Content = Text | Image | Voice | Video | Music | News | MsgMenu | MiniProgramPage

API_ONLY = (MsgMenu, MiniProgramPage)
"""Kinds that a passive reply cannot carry: they leave through the courier."""


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
