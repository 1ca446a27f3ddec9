"""After everything the other modules did: no log, no metric and no error tells a secret or who a follower is."""

import json
import re

from conftest import Registry
from running import PROCESSES, RunningWeir
from wechat import Client

SECRETS = ("secret", "token", "aes_key")


async def secrets(weir: RunningWeir) -> dict[str, str]:
    """Everything that must not be seen, by what it is: of all accounts, and of the servers."""
    status, out, err = await weir.command("accounts", "list", "--json", "--secrets")
    assert status == 0, err
    found = {f"{name} of {account['name']}": account[name] for account in json.loads(out) for name in SECRETS}
    found |= {f"previous key of {a['name']}": a.get("previous_aes_key", "") for a in json.loads(out)}
    found["admin token"] = weir.admin_token
    for server in ("rabbitmq", "mongodb"):
        found[f"password of {server}"] = (weir.home / server / "password").read_text().strip()
    return {what: value for what, value in found.items() if value}


async def access_tokens(weir: RunningWeir) -> set[str]:
    """The access tokens in use, from the collection that the courier keeps them in."""
    from pymongo import MongoClient

    where = weir.connections
    with MongoClient(where["mongodb_url"]) as mongo:
        rows = list(mongo[where["mongodb_database"]]["tokens"].find())
    return {row["token"] for row in rows if row.get("token")}


async def test_nothing_leaks(weir: RunningWeir, client: Client, registry: Registry) -> None:
    openid = await client.follower()
    await client.say(openid, "你好")  # so that there is something to leak, whatever ran before
    await client.stored(openid, 2)
    await client.ask("POST", f"{weir.address}/wechat/demo?signature=x&openid={openid}", data=b"<xml>")
    hidden = await secrets(weir) | {f"access token {n}": token for n, token in enumerate(await access_tokens(weir))}
    hidden |= {f"{name} of {made.name}": getattr(made, name) for made in registry.all() for name in SECRETS}

    told = {f"log {path.name}": path.read_text(errors="replace") for path in (weir.home / "logs").iterdir()}
    told |= {f"metrics of {name}": await client.metrics(name) for name in PROCESSES}
    told |= {f"readiness of {n}": (await client.ask("GET", f"{weir.url(n)}/readyz")).body.decode() for n in PROCESSES}
    told["error bodies"] = "\n".join(weir.error_bodies)
    assert len(told["error bodies"]) > 10
    assert "services.gateway" in told["log edge.log"]

    leaks = [f"{what} in {where}" for where, text in told.items() for what, value in hidden.items() if value in text]
    for where, text in told.items():
        words = set(re.findall(r"[A-Za-z0-9_-]{20,}", text))
        leaks += [f"an openid in {where}" for known in weir.openids & words]
        leaks += [f"an openid in {where}" for known in list(weir.openids)[:200] if known in text]
    assert sorted(set(leaks)) == []


async def test_what_is_kept_is_only_for_its_owner(weir: RunningWeir) -> None:
    private = ["admin-token", "connections.json", "demo-account.json", "run.json", "sandbox.json"]
    private += ["rabbitmq/password", "mongodb/password", "mongodb/keyfile"]
    for name in private:
        assert (weir.home / name).stat().st_mode & 0o077 == 0, name
    assert weir.home.stat().st_mode & 0o077 == 0
    arguments = "\n".join(weir.processes())
    leaked = [what for what, value in (await secrets(weir)).items() if value in arguments]
    assert leaked == []
