"""Secrets by name: kept outside the store, shown to nobody, missing ones named."""

from __future__ import annotations

import asyncio

import pytest

from hyperhive.adapters.secrets.files import FileSecrets
from hyperhive.adapters.secrets.memory import MemorySecrets
from hyperhive.domain import errors
from hyperhive.domain.configuration import Configuration, McpServer
from hyperhive.services import named_secrets

USES = Configuration(
    secrets={"A": "one", "B": "two"}, mcp_servers={"clock": McpServer("c", secrets={"C": "one"})}
)


def test_a_secret_is_set_listed_read_and_deleted(make_desk, tmp_path):
    async def story():
        desk = make_desk()
        service = named_secrets.NamedSecrets(desk.store, FileSecrets(tmp_path), desk.clock)
        shown = await service.set(desk.olga, "one", "line 1\nline 2")
        assert shown["name"] == "one"
        assert shown["set_at"] is not None
        assert (tmp_path / "agent-secret-one").stat().st_mode & 0o777 == 0o600
        values, warnings = await service.values(USES)
        assert values == {"one": "line 1\nline 2"}
        assert len(warnings) == 1 and "the secret two is not set" in warnings[0]
        assert await desk.store.read(lambda tx: named_secrets.missing(tx, USES)) == ["two"]
        assert [one["name"] for one in await service.listed(desk.olga)] == ["one"]
        await service.delete(desk.olga, "one")
        assert await service.listed(desk.olga) == []
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(errors.HiveError, match="there is none"):
            await service.delete(desk.olga, "one")
        dump = repr(await desk.store.read(lambda tx: tx.facts_after(0, 100)))
        assert "SECRET_SET" in dump and "line 1" not in dump

    asyncio.run(story())


def test_setting_one_wakes_what_waits_for_settings(make_desk):
    async def story():
        desk = make_desk()
        service = named_secrets.NamedSecrets(desk.store, MemorySecrets(), desk.clock)
        before = desk.store.number()
        await service.set(desk.olga, "one", "x")
        assert desk.store.number() > before

    asyncio.run(story())


@pytest.mark.parametrize(
    ("name", "value"),
    [("../x", "v"), ("A", "v"), ("", "v"), ("a" * 65, "v"), ("a", ""), ("a", "ü"), ("a", "x\0"),
     ("a", "x\r"), ("a", "x" * 8193)],
)  # fmt: skip
def test_odd_names_and_values_are_refused(make_desk, name, value):
    async def story():
        desk = make_desk()
        secrets = MemorySecrets()
        service = named_secrets.NamedSecrets(desk.store, secrets, desk.clock)
        with pytest.raises(errors.HiveError) as refused:
            await service.set(desk.olga, name, value)
        assert refused.value.kind is errors.ErrorKind.INVALID
        assert len(value) < 3 or value not in refused.value.message
        assert await secrets.read(f"agent-secret-{name}") is None

    asyncio.run(story())


def test_only_the_operator_deals_with_secrets(make_desk):
    async def story():
        desk = make_desk()
        await desk.agent("manager")
        manager = await desk.caller("manager")
        service = named_secrets.NamedSecrets(desk.store, MemorySecrets(), desk.clock)
        for call in (
            service.set(manager, "one", "x"),
            service.delete(manager, "one"),
            service.listed(manager),
        ):
            with pytest.raises(errors.HiveError) as refused:
                await call
            assert refused.value.kind is errors.ErrorKind.FORBIDDEN

    asyncio.run(story())


def test_a_file_that_cannot_be_read_is_a_warning_not_a_dead_agent(make_desk, tmp_path):
    async def story():
        desk = make_desk()
        (tmp_path / "agent-secret-one").write_bytes(b"\xff")
        service = named_secrets.NamedSecrets(desk.store, FileSecrets(tmp_path), desk.clock)
        values, warnings = await service.values(USES)
        assert values == {}
        assert "cannot read the secret agent-secret-one" in warnings[0]

    asyncio.run(story())
