"""Access tokens over HTTP: issued, replaced, expired, refused."""

import pytest
from boxes import CONFIG, Box

GRANT = {"grant_type": "client_credential", "appid": CONFIG["appid"], "secret": CONFIG["secret"]}


async def works(box: Box, token: str) -> int:
    answer = await box.ok("GET", "/cgi-bin/getcallbackip", access_token=token)
    return answer.get("errcode", 0)


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"grant_type": "other"}, 40002),
        ({"appid": ""}, 41002),
        ({"secret": ""}, 41004),
        ({"appid": "wxffffffffffffffff"}, 40013),
        ({"secret": "wrong"}, 40125),
    ],
)
async def test_what_is_wrong_is_named_by_its_errcode(box: Box, change: dict[str, str], errcode: int) -> None:
    assert (await box.ok("GET", "/cgi-bin/token", **{**GRANT, **change}))["errcode"] == errcode
    assert (await box.stable(**change))["errcode"] == errcode


async def test_methods_and_paths_are_wechats(box: Box) -> None:
    assert (await box.ok("POST", "/cgi-bin/token", **GRANT))["errcode"] == 43001
    assert (await box.ok("GET", "/cgi-bin/stable_token"))["errcode"] == 43002
    assert (await box.ok("GET", "/cgi-bin/no/such/api"))["errcode"] == 40066
    assert (await box.ok("POST", "/cgi-bin/stable_token", b"{"))["errcode"] == 47001
    assert (await box.stable(force_refresh="yes"))["errcode"] == 47001


async def test_a_token_lives_two_hours(box: Box) -> None:
    token = await box.token()
    await box.advance(7199)
    assert await works(box, token) == 0
    await box.advance(1)
    assert await works(box, token) == 42001


async def test_missing_malformed_and_unknown_tokens(box: Box) -> None:
    assert await works(box, "") == 41001
    assert await works(box, "short") == 40014
    assert await works(box, "x" * 100) == 40001


async def test_a_new_classic_token_ends_the_previous_one_after_five_minutes(box: Box) -> None:
    first, second = await box.token(), await box.token()
    assert first != second
    await box.advance(299)
    assert await works(box, first) == 0
    await box.advance(1)
    assert (await works(box, first), await works(box, second)) == (40001, 0)
    assert (await box.state())["tokens_alive"] == 1


async def test_the_stable_token_is_the_same_for_everybody(box: Box) -> None:
    first = await box.stable()
    await box.advance(1000)
    second = await box.stable()
    assert second["access_token"] == first["access_token"]
    assert (first["expires_in"], second["expires_in"]) == (7200, 6200)
    classic = await box.token()
    assert await works(box, first["access_token"]) == await works(box, classic) == 0


async def test_the_stable_token_is_renewed_in_its_last_five_minutes_and_both_work(box: Box) -> None:
    first = (await box.stable())["access_token"]
    await box.advance(7200 - 299)
    second = (await box.stable())["access_token"]
    assert first != second
    assert await works(box, first) == await works(box, second) == 0


async def test_a_forced_refresh_ends_the_old_token_at_once(box: Box) -> None:
    first = (await box.stable())["access_token"]
    second = (await box.stable(force_refresh=True))["access_token"]
    assert (await works(box, first), await works(box, second)) == (40001, 0)


async def test_forced_refreshes_are_thirty_seconds_apart_and_twenty_a_day(box: Box) -> None:
    first = (await box.stable(force_refresh=True))["access_token"]
    await box.advance(29)
    assert (await box.stable(force_refresh=True))["access_token"] == first
    for _ in range(18):
        await box.advance(30)
        assert "access_token" in await box.stable(force_refresh=True)
    assert (await box.stable(force_refresh=True))["errcode"] == 45009
    assert "access_token" in await box.stable()


@pytest.mark.parametrize(("allowed", "errcode"), [(["10.0.0.0/8"], 40164), (["127.0.0.0/8"], 0), ([], 40164)])
async def test_the_ip_allow_list_guards_both_token_apis(box: Box, allowed: list[str], errcode: int) -> None:
    await box.account(url="http://127.0.0.1:1/", ip_allow_list=allowed)
    assert (await box.ok("GET", "/cgi-bin/token", **GRANT)).get("errcode", 0) == errcode
    assert (await box.stable()).get("errcode", 0) == errcode


async def test_errors_look_like_wechats(box: Box) -> None:
    answer = await box.ok("GET", "/cgi-bin/getcallbackip", access_token="x" * 100)
    assert answer["errmsg"].startswith("invalid credential, access_token is invalid or not latest rid: ")
