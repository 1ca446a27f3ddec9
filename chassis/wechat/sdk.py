"""The only door to wechatpy: the classes that are used of it, with the types that it does not declare.

wechatpy 1.8.18 carries no type information. Under the type checker this module declares what is used; at run time it
hands out wechatpy's own classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    class AesCipher:
        """AES-256-CBC with a fixed key and IV."""

        def __init__(self, key: bytes, iv: bytes | None = None) -> None: ...
        def encrypt(self, plaintext: bytes) -> bytes: ...
        def decrypt(self, ciphertext: bytes) -> bytes: ...

    class PrpCrypto:
        """WeChat's framing of a message (random, length, text, appid, padding) around an ``AesCipher``."""

        cipher: AesCipher

        def __init__(self, key: bytes) -> None: ...
        def get_random_string(self) -> str: ...
        def encrypt(self, text: str | bytes, app_id: str) -> bytes: ...

    class Reply:
        """A passive reply; the keywords are the reply's fields."""

        def __init__(self, **fields: Any) -> None: ...
        def render(self) -> str: ...

    TextReply = ImageReply = VoiceReply = VideoReply = MusicReply = ArticlesReply = Reply

    class MessageApi:
        """``client.message``: what is used of it. Results are whatever the client's ``_request`` returns."""

        def send_text(self, user_id: str, content: str, account: str | None = None) -> Awaitable[Any]: ...
        def send_image(self, user_id: str, media_id: str, account: str | None = None) -> Awaitable[Any]: ...
        def send_voice(self, user_id: str, media_id: str, account: str | None = None) -> Awaitable[Any]: ...
        def send_video(
            self,
            user_id: str,
            media_id: str,
            title: str | None = None,
            description: str | None = None,
            account: str | None = None,
        ) -> Awaitable[Any]: ...
        def send_music(
            self,
            user_id: str,
            url: str,
            hq_url: str,
            thumb_media_id: str,
            title: str | None = None,
            description: str | None = None,
            account: str | None = None,
        ) -> Awaitable[Any]: ...
        def send_articles(
            self, user_id: str, articles: Sequence[Mapping[str, str]], account: str | None = None
        ) -> Awaitable[Any]: ...
        def send_msg_menu(
            self, openid: str, msgmenu: Mapping[str, Any], account: str | None = None
        ) -> Awaitable[Any]: ...
        def send_mini_program_page(
            self, user_id: str, miniprogrampage: Mapping[str, str], account: str | None = None
        ) -> Awaitable[Any]: ...

    class UserApi:
        """``client.user``: what is used of it."""

        def get(self, user_id: str, lang: str = "zh_CN") -> Awaitable[Any]: ...

    class MediaApi:
        """``client.media``: what is used of it."""

        def upload(self, media_type: str, media_file: tuple[str, bytes, str]) -> Awaitable[Any]: ...

    class MiscApi:
        """``client.misc``: what is used of it."""

        def get_wechat_ips(self) -> Awaitable[Any]: ...

    class WeChatClient:
        """wechatpy's API surface: one attribute for each part of the platform's API."""

        API_BASE_URL: str
        message: MessageApi
        user: UserApi
        misc: MiscApi
        media: MediaApi

        def get(self, url: str, **kwargs: Any) -> Awaitable[Any]: ...
        def post(self, url: str, **kwargs: Any) -> Awaitable[Any]: ...

else:
    from wechatpy.client import WeChatClient
    from wechatpy.crypto import PrpCrypto
    from wechatpy.replies import ArticlesReply, ImageReply, MusicReply, TextReply, VideoReply, VoiceReply

__all__ = [
    "ArticlesReply",
    "ImageReply",
    "MusicReply",
    "PrpCrypto",
    "TextReply",
    "VideoReply",
    "VoiceReply",
    "WeChatClient",
]
