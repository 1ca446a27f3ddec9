"""WeChat's API without blocking and without exceptions: every call returns an ``Outcome``.

``AsyncClient`` is wechatpy's whole API surface over aiohttp; ``WeChatApi`` is the small typed part that the courier
uses. The access token travels in the query string, because the platform wants it there, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from chassis.wechat.http import HttpClient, Part, encode
from chassis.wechat.outcome import Outcome, judge, scrub
from chassis.wechat.sdk import WeChatClient
from chassis.wechat.stable_token import TokenTrouble
from chassis.wechat.tokens import TokenSource
from contracts.content import (
    Content,
    Image,
    MiniProgramPage,
    MsgMenu,
    Music,
    News,
    Text,
    Video,
    Voice,
)
from contracts.errcodes import Fate

OFFICIAL: Final = "https://api.weixin.qq.com"
"""The platform's address; wechatpy's endpoints are written against it."""


class AsyncClient(WeChatClient):
    """wechatpy's client (``client.message``, ``client.user``, ``client.tag``, ...) with a coroutine underneath.

    Each method returns an awaitable of an ``Outcome`` whose ``data`` is the platform's whole answer: wechatpy's habit
    of picking one field out of it is not followed. The few methods in which wechatpy itself looks into an answer
    (``iter_followers``, ``jsapi.get_jsapi_ticket``, ``datacube.get_user_summary``, ``cloud.upload_file``) and those
    that answer with a file (``media.download``) do not work here.
    """

    def __init__(self, http: HttpClient, base_url: str, appid: str, token_source: TokenSource) -> None:
        # wechatpy's own constructor would make a blocking requests session.
        self.appid = appid
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._tokens = token_source

    @property
    def access_token(self) -> str:
        """Refuse: wechatpy would fetch the token here, blocking."""
        raise AttributeError("the access token is not handed out: call the API through the client's methods")

    async def _request(self, method: str, url_or_endpoint: str, **kwargs: Any) -> Outcome:
        url = self._url(url_or_endpoint, kwargs.get("api_base_url") or self.API_BASE_URL)
        params = {name: str(value) for name, value in (kwargs.get("params") or {}).items()}
        files = kwargs.get("files")
        data = kwargs.get("data")
        form = None if files is None else _form(files, data)
        body = None if files is not None else _body(data)
        begun = 0.0
        try:
            token = await self._tokens.current()
        except TokenTrouble as trouble:
            return _no_token(trouble, None, begun)
        for attempt in (1, 2):
            answer = await self._http.call(
                method.upper(), url, params={**params, "access_token": token.value}, body=body, form=form
            )
            outcome = judge(answer, read=method.upper() == "GET", secrets=self._tokens.secrets())
            outcome = msgspec.structs.replace(outcome, seconds=outcome.seconds + begun)
            if outcome.fate is not Fate.REFRESH_TOKEN or attempt == 2:
                break
            begun = outcome.seconds
            try:
                token = await self._tokens.refresh(token)
            except TokenTrouble as trouble:
                return _no_token(trouble, outcome.errcode, begun)
        if outcome.fate is Fate.REFRESH_TOKEN:
            return msgspec.structs.replace(outcome, fate=Fate.FINAL, token_trouble=True)
        return outcome

    def _url(self, endpoint: str, base: str) -> str:
        url = endpoint if endpoint.startswith(("http://", "https://")) else base + endpoint
        if not url.startswith(f"{OFFICIAL}/"):
            raise ValueError("a call outside the platform's API address would hand it the access token")
        return self._base_url + url.removeprefix(OFFICIAL)


class WeChatApi:
    """The calls of the courier and of the account's check. None raises for what the network or WeChat does."""

    def __init__(self, http: HttpClient, base_url: str, appid: str, token_source: TokenSource) -> None:
        self.client = AsyncClient(http, base_url, appid, token_source)
        self._appid = appid

    async def custom_send(self, openid: str, content: Content, kf_account: str | None = None) -> Outcome:
        """Send a customer-service message; ``kf_account`` shows it as that desk account's.

        The follower must have allowance left (48 hours and 5 messages after theirs; a minute and 3 after a click,
        follow or scan). ``Fate.UNKNOWN`` means that it may have arrived.
        """
        message = self.client.message
        match content:
            case Text(text):
                sent = message.send_text(openid, text, account=kf_account)
            case Image(media_id):
                sent = message.send_image(openid, media_id, account=kf_account)
            case Voice(media_id):
                sent = message.send_voice(openid, media_id, account=kf_account)
            case Video(media_id, title, description):
                sent = message.send_video(openid, media_id, title, description, account=kf_account)
            case Music(thumb, title, description, url, hq_url):
                sent = message.send_music(openid, url, hq_url, thumb, title, description, account=kf_account)
            case News(articles):
                sent = message.send_articles(
                    openid,
                    [
                        {"title": a.title, "description": a.description, "url": a.url, "picurl": a.pic_url}
                        for a in articles
                    ],
                    account=kf_account,
                )
            case MsgMenu():
                sent = message.send_msg_menu(openid, _menu(content), account=kf_account)
            case MiniProgramPage(title, appid, pagepath, thumb):
                page = {"title": title, "appid": appid, "pagepath": pagepath, "thumb_media_id": thumb}
                sent = message.send_mini_program_page(openid, page, account=kf_account)
        return _outcome(await sent)

    async def typing(self, openid: str, on: bool) -> Outcome:
        """Show or hide "typing" at the follower's; it lasts 15 seconds and needs an exchange within the last 30."""
        command = "Typing" if on else "CancelTyping"
        return _outcome(await self.client.post("message/custom/typing", data={"touser": openid, "command": command}))

    async def user_info(self, openid: str) -> Outcome:
        """Read what WeChat tells about a follower: whether they follow, since when, and where they came from."""
        return _outcome(await self.client.user.get(openid))

    async def media_upload(self, kind: str, filename: str, content: bytes, content_type: str) -> Outcome:
        """Upload temporary media (``image``, ``voice``, ``video`` or ``thumb``), which lives for 3 days.

        ``data`` has its id as ``media_id``, for a thumb as ``thumb_media_id``. An upload of unknown outcome may be
        repeated: at worst the platform keeps one file that nobody names.
        """
        return _outcome(await self.client.media.upload(kind, (filename, content, content_type)))

    async def callback_ips(self) -> Outcome:
        """Read the addresses that callbacks come from (``data["ip_list"]``); they change, so read them daily."""
        return _outcome(await self.client.misc.get_wechat_ips())

    async def clear_quota(self) -> Outcome:
        """Start all daily quotas of the account again; possible 10 times a month."""
        return _outcome(await self.client.post("clear_quota", data={"appid": self._appid}))


def _outcome(result: Any) -> Outcome:
    assert isinstance(result, Outcome)  # what AsyncClient returns, seen through wechatpy's untyped methods
    return result


def _no_token(trouble: TokenTrouble, errcode: int | None, seconds: float) -> Outcome:
    """Nothing was sent, or what was sent was refused: the trouble's own fate, and the alarm."""
    return Outcome(
        fate=trouble.fate,
        errcode=trouble.errcode if errcode is None else errcode,
        errmsg=scrub(trouble.sentence),
        seconds=seconds,
        token_trouble=True,
    )


def _menu(menu: MsgMenu) -> dict[str, Any]:
    return {
        "head_content": menu.head,
        "list": [{"id": item.id, "content": item.text} for item in menu.items],
        "tail_content": menu.tail,
    }


def _body(data: Any) -> bytes | None:
    if data is None or isinstance(data, bytes):
        return data
    return data.encode() if isinstance(data, str) else encode(data)


def _form(files: Mapping[str, Any], data: Any) -> list[Part]:
    """Translate the forms of ``requests`` that wechatpy uses: a file, or ``(name, file[, type])``, under a field."""
    parts = [Part(name, str(value)) for name, value in (data or {}).items()] if isinstance(data, dict) else []
    for name, given in files.items():
        filename, content, *kind = given if isinstance(given, tuple) else (None, given)
        raw = content.read() if hasattr(content, "read") else content
        shown = filename or str(getattr(content, "name", name)).rsplit("/", 1)[-1]
        parts.append(Part(name, raw, shown, kind[0] if kind else None))
    return parts
