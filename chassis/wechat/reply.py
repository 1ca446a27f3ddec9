"""Passive replies: a content, as the XML that answers a callback within its five seconds.

Source: WeChat's page "Passive user reply message". The kinds other than text go through wechatpy's reply classes; text,
which is nearly all of them, is written here (a twentieth of the time, and a test holds it to the same fields).
"""

from __future__ import annotations

from typing import Final

from chassis.wechat.cdata import cdata
from chassis.wechat.sdk import ArticlesReply, ImageReply, MusicReply, VideoReply, VoiceReply
from contracts.content import Content, Image, Music, News, Text, Video, Voice, media_names

TEXT_MAX_BYTES: Final = 2048
"""The longest text in UTF-8 bytes: about 680 Chinese characters.

The platform documents no figure. Its users measured 2,048 bytes for passive replies and for customer-service messages
alike; above it the follower of a passive reply sees the platform's error notice, and the API answers 45002.
"""

NEWS_MAX_ARTICLES: Final = 8
"""Articles in one passive reply to an event; WeChat shows only the first when the follower sent a message."""


class UnsendableReply(ValueError):
    """A content that a passive reply cannot carry: what is wrong and where it can go instead."""


def render(reply: Content, to: str, source: str, created: int) -> str:
    """Return the reply's XML.

    ``to`` is the follower's openid and ``source`` the account's gh_ id, both as the parser let them through;
    ``created`` is in Unix seconds.

    Raises:
        UnsendableReply: the kind needs the customer-service API, the content is empty or over the platform's limits,
            or its media has no id yet.

    """
    if type(reply) is Text:
        return _text(reply.content, to, source, created)
    if names := media_names(reply):
        # The courier uploads it and sends it then.
        raise UnsendableReply(f"media {', '.join(names)} has no id of the platform at hand: it cannot go at once")
    who = {"target": to, "source": source, "time": created}
    match reply:
        case Image(media_id):
            return ImageReply(image=cdata(media_id), **who).render()
        case Voice(media_id):
            return VoiceReply(voice=cdata(media_id), **who).render()
        case Video():
            return VideoReply(video=_video(reply), **who).render()
        case Music():
            return MusicReply(music=_music(reply), **who).render()
        case News():
            return ArticlesReply(articles=_articles(reply), **who).render()
    raise UnsendableReply(f"a {_kind(reply)} cannot be a passive reply: send it as a customer-service message")


def _text(content: str, to: str, source: str, created: int) -> str:
    if not content:
        raise UnsendableReply("the text is empty: answer `success` instead")
    # A character has four bytes at most, so most texts need no counting.
    if len(content) * 4 > TEXT_MAX_BYTES and (size := len(content.encode("utf-8", "replace"))) > TEXT_MAX_BYTES:
        raise UnsendableReply(f"the text has {size} bytes of UTF-8, at most {TEXT_MAX_BYTES} arrive: shorten it")
    return (
        f"<xml><ToUserName><![CDATA[{to}]]></ToUserName><FromUserName><![CDATA[{source}]]></FromUserName>"
        f"<CreateTime>{created}</CreateTime><MsgType><![CDATA[text]]></MsgType>"
        f"<Content><![CDATA[{cdata(content)}]]></Content></xml>"
    )


def _kind(reply: Content) -> str:
    return str(reply.__struct_config__.tag)


def _video(reply: Video) -> dict[str, str]:
    fields = {"media_id": reply.media_id, "title": reply.title, "description": reply.description}
    return {name: cdata(value) for name, value in fields.items() if value}


def _music(reply: Music) -> dict[str, str]:
    fields = {
        "thumb_media_id": reply.thumb_media_id,
        "title": reply.title,
        "description": reply.description,
        "music_url": reply.url,
        "hq_music_url": reply.hq_url,
    }
    return {name: cdata(value) for name, value in fields.items() if value}


def _articles(reply: News) -> list[dict[str, str]]:
    if not 1 <= len(reply.articles) <= NEWS_MAX_ARTICLES:
        raise UnsendableReply(f"a news reply has {len(reply.articles)} articles; it needs 1 to {NEWS_MAX_ARTICLES}")
    return [
        {
            "title": cdata(article.title),
            "description": cdata(article.description),
            "image": cdata(article.pic_url),
            "url": cdata(article.url),
        }
        for article in reply.articles
    ]
