"""Making one mongod the primary of a replica set of one."""

from dataclasses import dataclass
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError

SET = "weir"
_ALREADY_INITIALIZED = 23
_NOT_YET_INITIALIZED = 94
_WRONG_PASSWORD = 18


@dataclass(frozen=True)
class ReplicaOfOne:
    """A server on a loopback port and the user that owns it; no user means a server that asks for no password."""

    port: int
    user: str | None = None
    password: str | None = None

    @property
    def _address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def ready(self) -> bool:
        """Take one step towards a primary under its present address; True when there. Safe to repeat, also for ever."""
        try:
            async with self._client(self.user) as client:
                return await self._settle(client)
        except OperationFailure as error:
            if error.code in (_WRONG_PASSWORD, _NOT_YET_INITIALIZED):
                await self._first_run()
            return False
        except PyMongoError:
            return False

    async def _settle(self, client: AsyncMongoClient[dict[str, Any]]) -> bool:
        config = (await client.admin.command("replSetGetConfig"))["config"]
        member = config["members"][0]
        if member["host"] != self._address:  # the port has changed since the set was made
            member["host"] = self._address
            config["version"] += 1
            await client.admin.command("replSetReconfig", config, force=True)
            return False
        return bool((await client.admin.command("hello")).get("isWritablePrimary"))

    async def _first_run(self) -> None:
        """Initiate the set and create its user; a new server lets the loopback do so without a password."""
        try:
            async with self._client(None) as client:
                await self._initiate(client)
                if self.user and (await client.admin.command("hello")).get("isWritablePrimary"):
                    await client.admin.command("createUser", self.user, pwd=self.password, roles=["root"])
        except PyMongoError:
            return  # not listening yet, or not primary yet: the caller asks again

    async def _initiate(self, client: AsyncMongoClient[dict[str, Any]]) -> None:
        try:
            members = [{"_id": 0, "host": self._address}]
            await client.admin.command("replSetInitiate", {"_id": SET, "members": members})
        except OperationFailure as error:
            if error.code != _ALREADY_INITIALIZED:
                raise

    def _client(self, user: str | None) -> AsyncMongoClient[dict[str, Any]]:
        return AsyncMongoClient(
            "127.0.0.1",
            self.port,
            directConnection=True,
            serverSelectionTimeoutMS=500,
            username=user,
            password=self.password if user else None,
        )
