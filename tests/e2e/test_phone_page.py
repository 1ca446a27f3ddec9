"""The sandbox's phone page in a real browser, with an account server of the test's own that echoes."""

import json
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Locator, Page, async_playwright, expect

from sandbox.app import create_app
from sandbox.world import World

pytestmark = pytest.mark.e2e

SECRET = "0123456789abcdef0123456789abcdef"
MENU = [
    {"name": "今日活动", "type": "click", "key": "TODAY"},
    {"name": "服务", "sub_button": [{"name": "查订单", "type": "click", "key": "ORDER"}]},
]
KINDS = ["image", "voice", "video", "shortvideo", "location", "link", "file", "miniprogrampage"]


async def echo(request: web.Request) -> web.Response:
    """Answers what came: the text, the kind of message, or the event with its key. `坏` gets nonsense."""
    got = {child.tag: child.text or "" for child in ET.fromstring(await request.read())}
    if got["MsgType"] == "event":
        said = f"{got['Event']} {got.get('EventKey', '')}".strip()
    else:
        said = got.get("Content", got["MsgType"]) + got.get("bizmsgmenuid", "")
    if said == "坏":
        return web.Response(text="nonsense")
    return web.Response(
        text=f"<xml><ToUserName>{got['FromUserName']}</ToUserName><FromUserName>{got['ToUserName']}</FromUserName>"
        f"<CreateTime>1</CreateTime><MsgType>text</MsgType><Content><![CDATA[收到 {said}]]></Content></xml>"
    )


class Phone:
    """The page, and the sandbox behind it for what an account does."""

    def __init__(self, page: Page, server: TestServer, http: aiohttp.ClientSession) -> None:
        self.page, self.server, self.http = page, server, http

    def id(self, name: str) -> Locator:
        return self.page.get_by_test_id(name)

    def bubbles(self, via: str, text: str) -> Locator:
        return self.page.locator(f'[data-testid="bubble"][data-via="{via}"]').filter(has_text=text)

    async def say(self, text: str) -> None:
        await self.id("message-input").fill(text)
        await self.id("send-button").click()

    async def shows(self, via: str, text: str, count: int = 1) -> None:
        await expect(self.bubbles(via, text)).to_have_count(count)

    async def openid(self) -> str:
        return await self.id("follower-select").input_value()

    async def custom(self, kind: str, **part: Any) -> None:
        """The account sends a customer-service message."""
        login = {"grant_type": "client_credential", "appid": "wx0123456789abcdef", "secret": SECRET}
        async with self.http.get(self.server.make_url("/cgi-bin/token"), params=login) as response:
            token = (await response.json())["access_token"]
        body = {"touser": await self.openid(), "msgtype": kind, kind: part}
        url = self.server.make_url("/cgi-bin/message/custom/send")
        async with self.http.post(url, params={"access_token": token}, data=json.dumps(body)) as response:
            assert (await response.json())["errcode"] == 0


@pytest.fixture(params=[(1100, 860), (375, 720)], ids=["desktop", "phone"])
async def phone(request: pytest.FixtureRequest) -> AsyncIterator[Phone]:
    hook = web.Application()
    hook.router.add_post("/hook", echo)
    world = World()
    width, height = request.param
    async with (
        TestServer(hook) as account_server,
        TestServer(create_app(world, retry_pause=0.0), shutdown_timeout=0.5) as server,
        aiohttp.ClientSession() as http,
        async_playwright() as playwright,
    ):
        settings = {"appid": "wx0123456789abcdef", "secret": SECRET, "original_id": "gh_demo", "token": "token123"}
        world.put_account("demo", {**settings, "url": str(account_server.make_url("/hook")), "menu": MENU})
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = await browser.new_page(viewport={"width": width, "height": height})
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if line.type in {"error", "warning"} else None)
        await page.goto(str(server.make_url("/sandbox/")))
        yield Phone(page, server, http)
        overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        await browser.close()
        # No script error, and nothing that the content security policy had to stop; the browser itself notes a refusal.
        assert [text for text in complaints if "409 (Conflict)" not in text] == []
        assert overflow <= 0  # nothing sticks out sideways


async def open_more(phone: Phone) -> None:
    if not await phone.id("unfollow-button").is_visible():
        await phone.page.locator("summary").click()


async def test_a_conversation(phone: Phone) -> None:
    await expect(phone.id("account-select")).to_have_value("demo")
    await phone.id("new-follower").click()
    await phone.say("你好 <b>&amp;</b>")
    await phone.shows("self", "你好 <b>&amp;</b>")
    await phone.shows("passive", "收到 你好 <b>&amp;</b>")
    await phone.say("坏")
    await phone.shows("system", "该公众号暂时无法提供服务")
    await phone.custom("text", content="我是客服")
    await phone.shows("custom", "我是客服")
    order = await phone.page.locator("[data-testid=bubble]").evaluate_all("all => all.map(b => b.dataset.via)")
    assert order == ["self", "passive", "self", "system", "custom"]
    await phone.page.reload()
    await phone.shows("custom", "我是客服")  # the address remembers who one was


async def test_by_keyboard_alone(phone: Phone) -> None:
    await phone.id("new-follower").focus()
    await phone.page.keyboard.press("Enter")
    await expect(phone.id("message-input")).to_be_focused()
    await phone.page.keyboard.type("Tastatur")
    await phone.page.keyboard.press("Enter")
    await phone.shows("passive", "收到 Tastatur")
    await phone.page.keyboard.press("Tab")
    await phone.page.keyboard.press("Enter")
    await expect(phone.id("kind-image")).to_be_focused()
    await phone.page.keyboard.press("Escape")
    await expect(phone.id("kind-image")).to_be_hidden()


async def test_every_kind_of_message(phone: Phone) -> None:
    await phone.id("new-follower").click()
    for kind in KINDS:
        await phone.page.locator("#plus").click()
        await phone.id(f"kind-{kind}").click()
        await phone.shows("passive", f"收到 {kind}")
        await expect(phone.page.locator(f'[data-via="self"][data-type="{kind}"]')).to_have_count(1)


async def test_follow_leave_scan_and_menu(phone: Phone) -> None:
    await phone.id("new-follower").click()
    await phone.id("menu-item").filter(has_text="今日活动").click()
    await phone.shows("passive", "收到 CLICK TODAY")
    await phone.id("menu-folder").click()
    await phone.id("menu-item").filter(has_text="查订单").click()
    await phone.shows("passive", "收到 CLICK ORDER")
    await open_more(phone)
    await phone.id("scan-input").fill("lobby")
    await phone.id("scan-button").click()
    await phone.shows("passive", "收到 SCAN lobby")
    await phone.id("unfollow-button").click()
    await expect(phone.id("unfollow-button")).to_be_disabled()
    await phone.say("还在吗")
    await expect(phone.page.get_by_role("alert")).to_contain_text("does not follow")
    await phone.id("follow-button").click()
    await phone.shows("passive", "收到 subscribe")
    await expect(phone.page.get_by_role("alert")).to_be_hidden()
    await phone.id("event-input").fill("something_new")
    await phone.id("event-key-input").fill("k")
    await phone.id("event-button").click()
    await phone.shows("passive", "收到 something_new k")


async def test_a_message_menu_is_answered_by_a_click(phone: Phone) -> None:
    await phone.id("new-follower").click()
    await phone.say("hi")
    await phone.shows("passive", "收到 hi")
    await phone.custom("msgmenu", head_content="满意吗？", list=[{"id": "101", "content": "满意"}], tail_content="谢谢")
    await phone.id("msgmenu-item").click()
    await phone.shows("passive", "收到 满意101")


async def test_each_follower_has_a_phone_of_their_own(phone: Phone) -> None:
    await phone.id("new-follower").click()
    await phone.say("第一个")
    await phone.shows("passive", "收到 第一个")
    first = await phone.openid()
    await phone.id("new-follower").click()
    await expect(phone.id("follower-select")).not_to_have_value(first)
    await phone.shows("passive", "收到 第一个", 0)
    await phone.id("follower-select").select_option(first)
    await phone.shows("passive", "收到 第一个")
