"""The phone page of a running Weir, at its one address, in a real browser."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect
from running import RunningWeir
from wechat import Client

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"


@pytest.fixture
async def page(weir: RunningWeir) -> AsyncIterator[Page]:
    """A page on Weir's address; no script may fail and nothing may be refused by the page's own policy."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = await browser.new_page(base_url=weir.address, viewport={"width": 420, "height": 800}, locale="zh-CN")
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if line.type in {"error", "warning"} else None)
        yield page
        await browser.close()
        assert complaints == []


async def test_a_conversation_on_the_phone(client: Client, page: Page, tmp_path: Path) -> None:
    await page.goto("/sandbox/")
    await page.get_by_test_id("account-select").select_option("demo")
    follower = page.get_by_test_id("follower-select")
    before = await follower.input_value()
    await page.get_by_test_id("new-follower").click()
    await expect(follower).not_to_have_value(before)  # made by the server, so it takes a moment
    openid = await follower.input_value()
    client.weir.openids.add(openid)
    await page.get_by_test_id("message-input").fill("你好")
    await page.get_by_test_id("send-button").click()
    answer = page.locator('[data-testid=bubble][data-via="passive"]')
    await expect(answer.filter(has_text="我是 Weir 演示号")).to_be_visible()
    await expect(answer).to_contain_text("passive")
    await page.get_by_test_id("menu-item").filter(has_text="营业时间").click()
    await expect(answer.filter(has_text="营业时间：周一至周五")).to_be_visible()
    await expect(answer).to_have_count(2)
    await page.screenshot(path=tmp_path / "phone.png")
    assert (tmp_path / "phone.png").stat().st_size > 5000
    stored = await client.stored(openid, 4)
    assert [message["direction"] for message in stored].count("out") == 2


async def test_the_home_page(page: Page) -> None:
    answer = await page.goto("/")
    assert answer is not None
    assert answer.status == 200
    await expect(page.get_by_role("heading").first).to_be_visible()
    await page.locator('a[href="/sandbox/"]').first.click()
    await expect(page.get_by_test_id("account-select")).to_be_visible()


async def test_the_first_administrator_signs_up_in_the_browser(client: Client, page: Page) -> None:
    (link,) = [line for line in client.weir.console.read_text().splitlines() if "/setup#token=" in line]
    await page.goto(f"/setup#{link.rpartition('#')[2]}")
    # The token stands in the address no longer than the page needs to read it.
    await expect(page).to_have_url(f"{client.weir.address}/setup")
    await page.get_by_label("用户名").fill("boss")
    await page.get_by_label("密码", exact=False).fill("correct horse battery")
    await page.get_by_label("再输入一次").fill("correct horse")
    await page.get_by_role("button").click()
    await expect(page.get_by_role("status")).to_contain_text("两次输入的密码不一致")
    await page.get_by_label("再输入一次").fill("correct horse battery")
    await page.get_by_role("button").click()
    await expect(page.get_by_role("status")).to_contain_text("已以 boss 登录")
    me = await page.evaluate("fetch('/api/session').then(answer => answer.json())")
    assert (me["name"], me["roles"]) == ("boss", {"*": "admin"})
    cookies = {one["name"]: one for one in await page.context.cookies()}
    assert cookies["weir_session"]["httpOnly"]
    status, out, err = await client.weir.command("users", "list")
    assert status == 0, err
    assert "boss" in out
