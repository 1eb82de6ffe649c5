"""Verbs about configurations: what is asked for by name, answered from rows and git."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from hyperhive.domain import approvals, errors, ids, proposals
from hyperhive.domain.proposals import BuildState
from rigs import config_world

Open = Callable[[], contextlib.AbstractAsyncContextManager[Any]]


def tell(hive: Open, story: Callable[..., Any]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), hive() as made:
            agent = await made.agent("coder")
            shelf = made.world.shelf
            seed = shelf.put({"agent.toml": b"schema = 1\n"}, "seed")
            shelf.tag("deployed/0", seed)
            await config_world.deploy(made.store, agent.id, seed)

            async def do(verb: str, **given: Any) -> Any:
                return await made.actions.call(made.olga, verb, given)

            await story(made, agent, do)

    asyncio.run(main())


async def refused(doing: Any, kind: errors.ErrorKind, text: str) -> None:
    with pytest.raises(errors.HiveError, match=text) as refusal:
        await doing
    assert refusal.value.kind is kind


def test_a_marked_file_must_be_acknowledged_with_the_digest(hive: Open) -> None:
    async def story(made: Any, agent: Any, do: Any) -> None:
        base = next(iter(made.world.shelf.commits))
        sha = made.world.shelf.put({"agent.toml": b"schema = 1\n\0\n", "ok": b"fine\n"})
        asked = await config_world.propose(made.store, agent.id, "coder", sha, base=base)
        card = await do("card", id=asked.id)
        assert [each["path"] for each in card["needs_acknowledgement"]] == ["agent.toml"]
        assert [row["proposal"]["sha"] for row in (await do("pending"))["approvals"]] == [sha]
        conflict = errors.ErrorKind.CONFLICT
        given = {"id": asked.id, "digest": card["digest"]}
        await refused(do("approve", **given), conflict, "acknowledge first .* agent.toml")
        await refused(do("approve", **given, acknowledged=["ok"]), conflict, "agent.toml")
        await refused(
            do("approve", id=asked.id, digest="0" * 64, acknowledged=["agent.toml"]),
            conflict,
            "what you saw is not what waits",
        )
        row = await do("approve", **given, acknowledged=["agent.toml"])
        assert (row["state"], row["proposal"]["build"]) == ("approved", "built")

    tell(hive, story)


def test_what_is_not_built_is_refused_for_that_reason(hive: Open) -> None:
    async def story(made: Any, agent: Any, do: Any) -> None:
        sha = made.world.shelf.put({"run.sh": b"\0\n"})
        asked = await config_world.propose(
            made.store, agent.id, "coder", sha, build=BuildState.BUILDING
        )
        approve = do("approve", id=asked.id, digest=asked.digest)
        await refused(approve, errors.ErrorKind.CONFLICT, "its build is building")

    tell(hive, story)


async def read(made: Any, approval: int, **given: Any) -> list[str]:
    stream = made.actions.stream(made.olga, "build-log", {"id": approval, **given})
    return [line async for event in stream for line in event["lines"]]


def test_a_build_log_is_followed_until_the_build_has_ended(hive: Open) -> None:
    async def story(made: Any, agent: Any, do: Any) -> None:
        world = made.world
        asked = await config_world.propose(
            made.store, agent.id, "coder", "", build=BuildState.QUEUED
        )
        reading = asyncio.ensure_future(read(made, asked.id, follow=True))
        await asyncio.sleep(0)
        assert not reading.done()
        world.log(asked.id, "Get:1 \x1b[32mcurl\x1b[0m\n 10%\r 50%\r100%\nunfin")
        await config_world.move(made.store, asked.id, build=BuildState.BUILDING)
        world.log(asked.id, "ished \x07\nlast words")
        await config_world.move(made.store, asked.id, build=BuildState.BUILT)
        lines = ["Get:1 curl", "100%", "unfinished ⟦BEL⟧", "last words"]
        assert await reading == lines
        assert await read(made, asked.id) == lines
        assert await read(made, asked.id, lines=1, follow=True) == ["last words"]
        await refused(read(made, 99), errors.ErrorKind.NOT_FOUND, "approval 99 has no build")

    tell(hive, story)


def test_a_build_that_has_printed_nothing_or_much_too_much(hive: Open) -> None:
    async def story(made: Any, agent: Any, do: Any) -> None:
        quiet = await config_world.propose(made.store, agent.id, "coder", "")
        assert await read(made, quiet.id, follow=True) == []
        loud = await config_world.propose(made.store, agent.id, "coder", "")
        made.world.log(loud.id, "x" * 5_000_000 + "\n" + "line\n" * 10_000)
        lines = await read(made, loud.id, lines=5000, follow=True)
        assert lines == ["line"] * 5000
        made.world.log(quiet.id, "y" * 9000)
        [line] = await read(made, quiet.id)
        assert line == "y" * 4000 + " … (5000 more characters)"

    tell(hive, story)


def test_a_rollback_is_a_proposal_and_a_build_can_be_cancelled(hive: Open) -> None:
    async def story(made: Any, agent: Any, do: Any) -> None:
        row = await do("rollback", agent="coder", tag="deployed/0", description="it was better")
        assert (row["proposal"]["origin"], row["proposal"]["commit_ref"]) == (
            "rollback", "deployed/0",
        )  # fmt: skip
        assert row["description"] == "it was better"
        await refused(
            do("rollback", agent="coder", tag="deployed/9"), errors.ErrorKind.NOT_FOUND, "no such"
        )
        row = await do("cancel-build", id=row["id"])
        assert (row["state"], row["proposal"]["build"]) == ("failed", "cancelled")
        assert (await do("rebuild", name="coder"))["proposal"]["origin"] == "rebuild"

    tell(hive, story)


def test_history_says_who_decided_when_and_from_where(hive: Open) -> None:
    async def story(made: Any, agent: Any, do: Any) -> None:
        sha = made.world.shelf.put({"agent.toml": b"schema = 1\nmodel = 'x'\n"}, "a model")
        asked = await config_world.propose(
            made.store, agent.id, "coder", sha, state=approvals.ApprovalState.DENIED,
            decided_by="operator", decided_via="page", decided_at=config_world.AT, note="no",
        )  # fmt: skip
        made.world.shelf.tag(f"denied/{asked.id}", sha, "no")
        other = await made.agent("tester")
        await config_world.propose(made.store, other.id, "tester", sha)
        found = await do("history", agent="coder")
        [decision] = found["decisions"]
        assert (decision["decided_via"], decision["note"], decision["state"]) == (
            "page", "no", "denied",
        )  # fmt: skip
        assert [commit["tags"] for commit in found["commits"]] == [["denied/1"], ["deployed/0"]]
        assert found["deployment"]["tag"] == "deployed/0"
        assert (await do("history", agent="tester"))["commits"] == []

    tell(hive, story)


def test_files_and_their_content_of_any_tag(hive: Open) -> None:
    async def story(made: Any, agent: Any, do: Any) -> None:
        shelf = made.world.shelf
        sha = shelf.put({"agent.toml": b"schema = 1\r\n", "big.txt": b"x" * 300_000})
        shelf.tag("proposal/1", sha)
        found = await do("config-files", agent="coder")
        assert [file["path"] for file in found["files"]] == ["agent.toml"]
        assert found["commit"]["message"] == "seed"
        found = await do("config-files", agent="coder", revision="proposal/1")
        assert len(found["files"]) == 2
        file = await do("config-file", agent="coder", path="agent.toml", revision=sha[:10])
        assert file["rows"] == [{"sign": " ", "text": "schema = 1⟦CR⟧"}]
        assert file["marks"][0]["mark"] == "carriage_return"
        file = await do("config-file", agent="coder", path="big.txt", revision=sha)
        assert (file["kind"], file["rows"]) == ("large", [])
        change = await do("compare", agent="coder", before="deployed/0", after="proposal/1")
        assert [each["path"] for each in change["files"]] == ["agent.toml", "big.txt"]
        unknown = shelf.put({"x": b"never tagged"})
        missing = errors.ErrorKind.NOT_FOUND
        for wrong in ("deployed/7", unknown, "main", "--output=/etc/x", sha[:4]):
            await refused(
                do("config-files", agent="coder", revision=wrong), missing, "no tag and no tagged"
            )
        await refused(do("config-file", agent="coder", path="../x"), missing, "no such file")
        await refused(do("config-files", agent="nobody"), missing, "none of that name")
        await made.agent("tester")
        await refused(do("config-files", agent="tester"), missing, "it has none yet")

    tell(hive, story)


def test_repositories_meta_and_inputs(hive: Open) -> None:
    async def story(made: Any, agent: Any, do: Any) -> None:
        await made.agent("manager")
        world = made.world
        world.mirror |= {
            "configured": True, "organisation": "agent-configs",
            "repositories": [{"name": "coder", "state": "behind"}, {"name": "meta", "state": "ok"}],
        }  # fmt: skip
        found = await do("repositories")
        [row] = found["repositories"]
        assert (row["agent"], row["deployment"]["tag"]) == ("coder", "deployed/0")
        assert (row["mirror"]["state"], found["meta"]["mirror"]["state"]) == ("behind", "ok")
        assert found["mirror"] == {"configured": True, "organisation": "agent-configs"}
        world.meta.add("deploy coder deployed/7 0123456789ab")
        assert [each["message"] for each in (await do("meta-log"))["commits"]] == [
            "deploy coder deployed/7 0123456789ab"
        ]
        names = [each["name"] for each in (await do("inputs"))["inputs"]]
        assert names == ["base", "hyperhive"]
        row = await do("update-inputs", names=["base"])
        assert (row["kind"], row["proposal"]["inputs"]) == ("update_inputs", ["base"])
        await refused(
            do("update-inputs", names=["x"]), errors.ErrorKind.INVALID, "there are base, hyperhive"
        )
        await refused(do("update-inputs", names=[]), errors.ErrorKind.INVALID, "names")

    tell(hive, story)


def test_an_agents_row_says_what_it_runs_and_what_is_under_way(hive: Open) -> None:
    async def story(made: Any, agent: Any, do: Any) -> None:
        [row] = (await do("list"))["agents"]
        assert (row["deployment"]["tag"], row["deployment"]["work"]) == ("deployed/0", None)
        asked = await config_world.propose(made.store, agent.id, "coder", "")
        await config_world.move(
            made.store, asked.id, step=proposals.DeployStep.CHECKING,
        )  # fmt: skip
        await config_world.deploy(
            made.store, agent.id, row["deployment"]["sha"], trial=ids.ApprovalId(asked.id)
        )
        [row] = (await do("list"))["agents"]
        assert row["deployment"]["trial"] == asked.id
        assert row["deployment"]["work"] == {
            "approval": asked.id, "origin": "commit", "step": "checking",
        }  # fmt: skip

    tell(hive, story)
