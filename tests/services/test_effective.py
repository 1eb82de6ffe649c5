"""What is deployed counts: in plans, for mail, for hosts; and a trial counts while it lasts."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime

import pytest

from hyperhive.adapters.secrets.memory import MemorySecrets
from hyperhive.domain import agents, configuration, deployments, errors, ids, proposals
from hyperhive.domain.configuration import Configuration, McpServer
from hyperhive.services import effective, model_source, named_secrets, overview, turns

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
CLOCK = McpServer("clock", args=("-z",), env={"A": "b"}, secrets={"TOKEN": "clock-token"})


async def deploy(desk, agent: agents.Agent, configured: Configuration, **changed: object) -> None:
    """Make *configured* the deployed configuration of an agent."""
    row = deployments.Deployment(
        agent_id=agent.id, approval=ids.ApprovalId(3), sha="a" * 40, tree="b" * 40,
        generation="c" * 16, built_from="base", configuration=configuration.to_json(configured),
        deployed_at=NOW,
    )  # fmt: skip
    await desk.store.write(
        lambda tx: tx.put_deployment(dataclasses.replace(row, **changed))  # pyright: ignore[reportArgumentType]
    )


async def plan_of(desk, configured: Configuration, secrets: MemorySecrets | None = None):
    bob = await desk.agent("bob")
    await deploy(desk, bob, configured)
    await desk.mail.send(desk.olga, "bob", "first")
    named = named_secrets.NamedSecrets(desk.store, secrets or MemorySecrets(), desk.clock)
    settings = turns.TurnSettings(
        hive="test", pronouns="they/them", model="m-1", warm_seconds=1.0, warm_bytes=1,
        max_retries=1, turn_seconds=60.0, tools=("Bash", "Read"),
    )  # fmt: skip
    service = turns.Turns(desk.store, desk.clock, settings, lambda: "api_key", "run", named)
    return await service.take(bob.id, "boot")


def test_an_agent_without_a_configuration_has_the_default(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        assert await desk.store.read(lambda tx: effective.current(tx, bob.id)) == effective.NOTHING

    asyncio.run(story())


def test_while_a_switch_is_on_trial_its_configuration_counts(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        asked = await desk.review.request_spawn(desk.olga, "coder", "x")
        trial = proposals.Proposal(
            approval=asked.id, agent_id=bob.id, origin=proposals.Origin.COMMIT, commit_ref="d" * 7,
            sha="d" * 40, tree="e" * 40, base_sha="a" * 40, build=proposals.BuildState.BUILT,
            build_note="", generation="f" * 16,
            configuration=configuration.to_json(Configuration(model="new")), effects={},
            step=proposals.DeployStep.CHECKING, epoch=2, deadline=None, expires_at=None, tag="",
            changed_at=NOW,
        )  # fmt: skip
        await desk.store.write(lambda tx: tx.insert_proposal(trial))
        await deploy(desk, bob, Configuration(model="old"))
        found = await desk.store.read(lambda tx: effective.current(tx, bob.id))
        assert (found.configuration.model, found.sha, found.generation_id, found.on_trial) == (
            "old", "a" * 40, "c" * 16, False,
        )  # fmt: skip
        await deploy(desk, bob, Configuration(model="old"), trial=asked.id)
        found = await desk.store.read(lambda tx: effective.current(tx, bob.id))
        assert (found.configuration.model, found.sha, found.generation_id, found.on_trial) == (
            "new", "d" * 40, "f" * 16, True,
        )  # fmt: skip

    asyncio.run(story())


def test_what_cannot_be_read_stops_the_agent_instead_of_freeing_it(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await deploy(desk, bob, Configuration(), configuration={"schema": 9})
        with pytest.raises(errors.HiveError, match="its schema is 9"):
            await desk.store.read(lambda tx: effective.current(tx, bob.id))
        await desk.mail.send(desk.olga, "bob", "first")
        with pytest.raises(errors.HiveError, match="its schema is 9"):
            await desk.turns.take(bob.id, "boot")

    asyncio.run(story())


def test_a_plan_follows_the_configuration(make_desk):
    async def story():
        plan = await plan_of(
            make_desk(),
            Configuration(
                model="m-2",
                prompt="p.md",
                prompt_text="Spend no more than ${name} has.\n",
                tools=("Bash", "WebFetch"),
                mcp_servers={
                    "clock": dataclasses.replace(CLOCK, allowed_tools=("now", "zone")),
                    "all": McpServer("all"),
                },
            ),
        )
        assert plan["model"] == "m-2"
        assert plan["settings"]["tools"] == ["Bash", "WebFetch"]
        assert plan["settings"]["allowed_tools"] == [
            "Bash", "WebFetch", "mcp__hive", "mcp__clock__now", "mcp__clock__zone", "mcp__all",
        ]  # fmt: skip
        ours, mark, added = plan["system_prompt"].partition(
            "## From this agent's own configuration, approved by the operator"
        )
        assert "You are bob" in ours
        assert mark
        assert added.strip() == "Spend no more than ${name} has."
        assert plan["mcp_servers"]["clock"] == {
            "command": "clock", "args": ["-z"], "env": {"A": "b"}, "secrets": {},
        }  # fmt: skip

    asyncio.run(story())


def test_the_operators_model_wins_over_the_configurations(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.store.write(
            lambda tx: tx.update_agent(dataclasses.replace(bob, model="by-operator"))
        )
        assert (await plan_of(desk, Configuration(model="m-2")))["model"] == "by-operator"

    asyncio.run(story())


def test_without_a_configuration_a_plan_is_as_before(make_desk):
    async def story():
        plan = await plan_of(make_desk(), Configuration())
        assert plan["model"] == "m-1"
        assert plan["settings"]["tools"] == ["Bash", "Read"]
        assert plan["settings"]["allowed_tools"] == ["Bash", "Read", "mcp__hive"]
        assert (plan["mcp_servers"], plan["secrets"], plan["warnings"]) == ({}, {}, [])
        assert "From this agent" not in plan["system_prompt"]

    asyncio.run(story())


def test_secrets_come_with_the_plan_and_a_missing_one_is_a_warning(make_desk):
    async def story():
        desk = make_desk()
        secrets = MemorySecrets()
        named = named_secrets.NamedSecrets(desk.store, secrets, desk.clock)
        await named.set(desk.olga, "clock-token", "s3cret")
        plan = await plan_of(
            desk,
            Configuration(secrets={"GIT": "clock-token", "NO": "away"}, mcp_servers={"c": CLOCK}),
            secrets,
        )
        assert plan["secrets"] == {"GIT": "s3cret"}
        assert plan["mcp_servers"]["c"]["secrets"] == {"TOKEN": "s3cret"}
        assert plan["warnings"] == [
            "the secret away is not set on this host, so its variable is missing; set it with: "
            "hive secret set away"
        ]
        facts = await desk.store.read(lambda tx: tx.facts_after(0, 1000))
        assert not any("s3cret" in repr(fact) for fact in facts)

    asyncio.run(story())


def test_mail_goes_to_the_recipients_of_the_configuration(make_desk):
    async def story():
        desk = make_desk()
        for name in ("manager", "bob", "cleo", "dora"):
            await desk.agent(name)
        await deploy(desk, await desk.agent("bob"), Configuration(recipients=("cleo", "nobody")))
        bob = await desk.caller("bob")
        await desk.mail.send(bob, "cleo", "hello")
        await desk.mail.send(bob, "manager", "hello")
        with pytest.raises(errors.HiveError, match="you may write to cleo, manager, operator"):
            await desk.mail.send(bob, "dora", "hello")
        await desk.mail.set_recipients(desk.olga, "bob", ["dora"])
        await desk.mail.send(await desk.caller("bob"), "dora", "the operator's list wins")
        await desk.mail.set_recipients(desk.olga, "bob", None)
        with pytest.raises(errors.HiveError, match="cannot send to dora"):
            await desk.mail.send(await desk.caller("bob"), "dora", "back to the configuration's")

    asyncio.run(story())


def test_hosts_of_the_configuration_come_on_top(make_desk):
    async def story():
        desk = make_desk()
        bob, cleo = await desk.agent("bob"), await desk.agent("cleo")
        await deploy(desk, bob, Configuration(allowed_hosts=("b.example", "a.example")))
        ask = effective.reach(desk.store, ("a.example",))
        assert await ask(bob.id) == ("a.example", "b.example")
        assert await ask(cleo.id) == ("a.example",)

    asyncio.run(story())


async def row_of(desk, name: str):
    """The agent's row as the page shows it."""

    async def no_demo() -> str:
        raise AssertionError("no demo here")

    source = model_source.ModelSource(desk.store, MemorySecrets(), "https://up", no_demo)
    shown = overview.Overview(
        desk.store, source, hive="test", version="1", model="m-1", refused=desk.refused
    )
    rows = await desk.store.read(shown.agent_rows)
    return next(row for row in rows if row["name"] == name)


def test_the_row_of_an_agent_shows_its_servers_and_its_trouble(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        two = {"clock": CLOCK, "dead": McpServer("x")}
        await deploy(desk, bob, Configuration(model="m-2", mcp_servers=two))
        row = await row_of(desk, "bob")
        assert row["model"] == "m-2"
        assert [one["status"] for one in row["mcp_servers"]] == ["unknown", "unknown"]
        assert len(row["trouble"]) == 1 and "hive secret set clock-token" in row["trouble"][0]
        told = [{"name": "clock", "status": "connected"}, {"name": "dead", "status": "failed"},
                {"name": "other", "status": "failed"}]  # fmt: skip
        before = desk.store.number()
        await desk.fleet.report_servers(bob.id, told)
        await desk.fleet.report_servers(bob.id, told)
        assert desk.store.number() == before + 1, "the same again is no fact"
        row = await row_of(desk, "bob")
        assert row["mcp_servers"] == told[:2], "only servers of the configuration are shown"

    asyncio.run(story())


def test_one_broken_configuration_does_not_take_the_page_from_the_others(make_desk):
    async def story():
        desk = make_desk()
        await deploy(desk, await desk.agent("bob"), Configuration(), configuration={"schema": 9})
        await desk.agent("cleo")
        broken = await row_of(desk, "bob")
        assert "its schema is 9" in broken["trouble"][0]
        assert broken["recipients"] == []
        assert (await row_of(desk, "cleo"))["trouble"] == []

    asyncio.run(story())
