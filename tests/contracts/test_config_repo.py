"""The contract of the configuration repositories: what tags, main and exports promise."""

from __future__ import annotations

import asyncio
import pathlib
import stat
from collections.abc import Awaitable, Callable

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.config_repo import git_objects, rules
from hyperhive.adapters.config_repo.memory import MemoryConfigRepos
from hyperhive.domain import errors, ids
from rigs.config_repos import CODER, CODER_NAME, SEED, Made, bring, real, tag

Scenario = Callable[[ports.ConfigRepos, Made], Awaitable[None]]
Run = Callable[[Scenario], None]
Kind = ports.TagKind
Error = errors.ErrorKind
NOBODY = ids.AgentId("0" * 12)


@pytest.fixture(params=["memory", "git"])
def run(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Run:
    def start(scenario: Scenario) -> None:
        async def main() -> None:
            clock = ManualClock()
            repos: ports.ConfigRepos
            if request.param == "memory":
                repos = MemoryConfigRepos(clock)
            else:
                repos = real(tmp_path / "hive", clock)[0]
            await scenario(repos, Made(clock))

        asyncio.run(main())

    return start


async def seeded(repos: ports.ConfigRepos, made: Made) -> ports.Commit:
    """The seed's commit; what an agent clones, so that its packs are whole."""
    seed = await repos.seed(CODER, CODER_NAME, SEED, 870001)
    assert made.commit(SEED, message=rules.SEED_MESSAGE) == seed.sha
    return seed


def refused(kind: errors.ErrorKind, match: str):
    return pytest.raises(errors.HiveError, match=match, check=lambda e: e.kind is kind)


def test_a_seed_is_deployed_and_main(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        assert seed.parents == ()
        assert seed.at == made.clock.now()
        assert await repos.main(CODER) == seed.sha
        assert await repos.tags(CODER) == [tag(Kind.DEPLOYED, 0, seed.sha)]
        assert await repos.refs(CODER) == {
            "refs/heads/main": seed.sha,
            "refs/tags/deployed/0": seed.sha,
        }
        files = await repos.files(CODER, seed.sha)
        assert [(file.path, file.mode, file.size) for file in files] == [
            ("agent.toml", "100644", 11),
            ("prompts/role.md", "100644", 10),
        ]
        assert await repos.read_blob(CODER, files[0].blob, limit=11) == b"schema = 1\n"

    run(scenario)


def test_seeding_again_keeps_what_is_there(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        made.clock.advance(100)
        assert await repos.seed(CODER, CODER_NAME, {"other": b""}, 870002) == seed
        assert await repos.main(CODER) == seed.sha

    run(scenario)


def test_an_agent_without_a_repository_is_not_found(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        for call in (
            repos.main(NOBODY),
            repos.tags(NOBODY),
            repos.refs(NOBODY),
            repos.history(NOBODY),
            repos.pin(NOBODY, []),
            repos.reconcile(NOBODY, [], None),
            repos.show(NOBODY, "1" * 40),
        ):
            with refused(Error.NOT_FOUND, "it has no repository"):
                await call

    run(scenario)


def test_an_imported_commit_is_pinned_and_stays(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        first = await bring(repos, made, 7, {"agent.toml": b"schema = 1 # new\n"})
        assert first.tags == ("proposal/7",)
        assert first.message == "Change it"
        assert await repos.main(CODER) == seed.sha
        other = made.commit({"agent.toml": b"no"})
        again = await repos.import_commit(CODER, ids.ApprovalId(7), other[:12], made.produce(other))
        assert again == first
        with refused(Error.NOT_FOUND, "no such commit"):
            await repos.show(CODER, other)

    run(scenario)


def test_what_is_sent_must_be_what_was_asked_for(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        await seeded(repos, made)
        sha = made.commit({"a": b"1"})
        for wanted, sent in (("f" * 7, sha), (sha[:8], "e" * 40), ("main", sha)):
            with pytest.raises(errors.HiveError) as caught:
                await repos.import_commit(CODER, ids.ApprovalId(3), wanted, made.produce(sent))
            assert caught.value.kind is Error.INVALID
        assert [each.name for each in await repos.tags(CODER)] == ["deployed/0"]

    run(scenario)


def test_tags_are_created_once_and_never_moved(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        new = await bring(repos, made, 7, {"a": b"1"}, [seed.sha])
        await repos.pin(CODER, [tag(Kind.APPROVED, 7, new.sha), tag(Kind.BUILDING, 7, new.sha)])
        before = await repos.refs(CODER)
        made.clock.advance(60)
        await repos.pin(CODER, [tag(Kind.APPROVED, 7, new.sha)])
        await repos.pin(CODER, [])
        assert await repos.refs(CODER) == before
        with refused(Error.CONFLICT, "approved/7 .* tags are never moved"):
            await repos.pin(
                CODER, [tag(Kind.DEPLOYED, 7, new.sha), tag(Kind.APPROVED, 7, seed.sha)]
            )
        # All or nothing.
        assert await repos.refs(CODER) == before

    run(scenario)


def test_failures_and_denials_say_why(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        error = "no package 'nonsuch'\n\n\x1b[31mE: unable to locate\x1b[0m ünïcode"
        await repos.pin(
            CODER,
            [
                tag(Kind.FAILED, 4, seed.sha, error),
                tag(Kind.DENIED, 5, seed.sha),
                tag(Kind.DEPLOYED, 6, seed.sha, "with a word"),
                tag(Kind.APPROVED, 6, seed.sha),
            ],
        )
        found = {each.name: each for each in await repos.tags(CODER)}
        assert found["failed/4"].message.startswith("no package 'nonsuch'\n\n\ufffd[31mE: unable")
        assert found["failed/4"].message.endswith("ünïcode")
        assert found["denied/5"].message == "denied"
        assert found["deployed/6"].message == "with a word"
        assert found["approved/6"].message == ""
        assert {each.sha for each in found.values()} == {seed.sha}
        refs = await repos.refs(CODER)
        assert refs["refs/tags/approved/6"] == seed.sha != refs["refs/tags/failed/4"]
        # The same tag with other words is the same tag.
        await repos.pin(CODER, [tag(Kind.FAILED, 4, seed.sha, "another error")])
        assert await repos.refs(CODER) == refs

    run(scenario)


def test_a_message_without_end_is_cut(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        await repos.pin(CODER, [tag(Kind.FAILED, 4, seed.sha, "x" * 50_000)])
        (found,) = [each for each in await repos.tags(CODER) if each.kind is Kind.FAILED]
        assert found.message.endswith("\n[… 34000 more characters]")

    run(scenario)


def test_a_tag_needs_its_commit(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        blob = (await repos.files(CODER, seed.sha))[0].blob
        for sha in ("1" * 40, blob):
            with refused(Error.NOT_FOUND, "no such commit"):
                await repos.pin(CODER, [tag(Kind.APPROVED, 7, sha)])
            with refused(Error.NOT_FOUND, "no such commit"):
                await repos.pin(CODER, [tag(Kind.FAILED, 7, sha, "annotated")])
        for sha in ("main", seed.sha[:12], "", f"{seed.sha}\n", "--all"):
            with pytest.raises(errors.HiveError) as caught:
                await repos.pin(CODER, [tag(Kind.APPROVED, 7, sha)])
            assert caught.value.kind is Error.INVALID
        assert len(await repos.tags(CODER)) == 1

    run(scenario)


def test_main_stands_on_deployed_commits_only(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        new = await bring(repos, made, 7, {"a": b"1"}, [seed.sha])
        with refused(Error.CONFLICT, "make the tag first"):
            await repos.advance_main(CODER, new.sha)
        await repos.pin(CODER, [tag(Kind.DEPLOYED, 7, new.sha)])
        await repos.advance_main(CODER, new.sha)
        await repos.advance_main(CODER, new.sha)
        assert await repos.main(CODER) == new.sha
        aside = await bring(repos, made, 8, {"a": b"2"}, [seed.sha])
        await repos.pin(CODER, [tag(Kind.DEPLOYED, 8, aside.sha)])
        for sha in (seed.sha, aside.sha):
            with refused(Error.CONFLICT, "does not descend from"):
                await repos.advance_main(CODER, sha)
        assert await repos.main(CODER) == new.sha
        with refused(Error.INVALID, "commit id"):
            await repos.advance_main(CODER, "HEAD")

    run(scenario)


def test_a_rollback_is_a_new_commit_on_main(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        new = await bring(repos, made, 7, {"a": b"1"}, [seed.sha])
        await repos.pin(CODER, [tag(Kind.DEPLOYED, 7, new.sha)])
        await repos.advance_main(CODER, new.sha)
        made.clock.advance(60)
        back = await repos.restore(CODER, ids.ApprovalId(9), seed.sha, "roll back to deployed/0")
        assert (back.tree, back.parents, back.tags) == (seed.tree, (new.sha,), ("proposal/9",))
        assert back.message == "roll back to deployed/0"
        made.clock.advance(60)
        again = await repos.restore(CODER, ids.ApprovalId(9), new.sha, "something else")
        assert again == back
        with refused(Error.NOT_FOUND, "no such commit"):
            await repos.restore(CODER, ids.ApprovalId(10), "4" * 40, "nothing")
        assert await repos.descends(CODER, back.sha, seed.sha)
        assert await repos.descends(CODER, back.sha, back.sha)
        assert not await repos.descends(CODER, seed.sha, back.sha)
        assert not await repos.descends(CODER, seed.sha, "4" * 40)
        with refused(Error.NOT_FOUND, "no such commit"):
            await repos.descends(CODER, "4" * 40, seed.sha)

    run(scenario)


def test_what_a_deploy_under_way_has_pinned_is_no_difference(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        new = await bring(repos, made, 7, {"a": b"1"}, [seed.sha])
        wanted = [tag(Kind.DEPLOYED, 0, seed.sha), tag(Kind.PROPOSAL, 7, new.sha)]
        await repos.pin(CODER, [tag(Kind.APPROVED, 7, new.sha), tag(Kind.DEPLOYED, 7, new.sha)])
        assert await repos.reconcile(CODER, wanted, seed.sha) == []
        # Over, with another end.
        wanted.append(tag(Kind.FAILED, 7, new.sha, "no"))
        assert await repos.reconcile(CODER, wanted, seed.sha) == [
            f"refs/tags/approved/7 at {new.sha[:12]} is not known to the store",
            f"refs/tags/deployed/7 at {new.sha[:12]} is not known to the store",
        ]

    run(scenario)


def test_a_commit_that_is_lost_is_said_once_and_holds_up_nothing(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        gone = "5" * 40
        wanted = [
            tag(Kind.DEPLOYED, 0, seed.sha),
            tag(Kind.PROPOSAL, 7, gone),
            tag(Kind.DEPLOYED, 7, gone),
            tag(Kind.DENIED, 8, seed.sha, "no"),
        ]
        assert await repos.reconcile(CODER, wanted, gone) == [
            f"commit {gone[:12]} is not in the repository any more"
        ]
        assert [each.name for each in await repos.tags(CODER)] == ["denied/8", "deployed/0"]
        assert await repos.main(CODER) == seed.sha

    run(scenario)


def test_history_is_every_tagged_commit_newest_first(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        one = await bring(repos, made, 7, {"a": b"1"}, [seed.sha])
        two = await bring(repos, made, 12, {"a": b"2"}, [one.sha])
        await repos.pin(
            CODER,
            [
                tag(Kind.DEPLOYED, 7, one.sha),
                tag(Kind.DENIED, 12, two.sha, "no"),
                # A rollback to the seed.
                tag(Kind.PROPOSAL, 13, seed.sha),
            ],
        )
        found = await repos.history(CODER)
        assert [(commit.sha, commit.tags) for commit in found] == [
            (seed.sha, ("deployed/0", "proposal/13")),
            (two.sha, ("proposal/12", "denied/12")),
            (one.sha, ("proposal/7", "deployed/7")),
        ]
        assert found[1].parents == (one.sha,)
        assert [commit.sha for commit in await repos.history(CODER, limit=1)] == [seed.sha]

    run(scenario)


def test_changes_are_by_path(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        new = await bring(
            repos, made, 7, {"agent.toml": b"schema = 1\n", "prompts/other.md": b"Be brief.\n"}
        )
        changes = await repos.changes(CODER, seed.sha, new.sha)
        assert [
            (each.path, each.before is not None, each.after is not None) for each in changes
        ] == [("prompts/other.md", False, True), ("prompts/role.md", True, False)]
        everything = await repos.changes(CODER, None, new.sha)
        assert [each.path for each in everything] == ["agent.toml", "prompts/other.md"]
        assert everything[0].after == (await repos.files(CODER, new.sha))[0]
        assert await repos.changes(CODER, new.sha, new.sha) == []

    run(scenario)


def test_a_blob_is_read_up_to_its_limit(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        blob = (await repos.files(CODER, seed.sha))[1].blob
        assert await repos.read_blob(CODER, blob, limit=10) == b"Be brief.\n"
        with refused(Error.INVALID, "it has 10 bytes, more than 9"):
            await repos.read_blob(CODER, blob, limit=9)
        for other in ("2" * 40, seed.sha, seed.tree):
            with refused(Error.NOT_FOUND, "no such file content"):
                await repos.read_blob(CODER, other, limit=100)
        blobs = [file.blob for file in await repos.files(CODER, seed.sha)]
        total = sum(file.size for file in await repos.files(CODER, seed.sha))
        found = await repos.read_blobs(CODER, [*blobs, blob], limit=total)
        assert (set(found), found[blob]) == (set(blobs), b"Be brief.\n")
        assert await repos.read_blobs(CODER, [], limit=0) == {}
        with refused(Error.INVALID, "more than"):
            await repos.read_blobs(CODER, blobs, limit=total - 1)
        with refused(Error.NOT_FOUND, "no such file content"):
            await repos.read_blobs(CODER, [*blobs, "2" * 40], limit=1000)

    run(scenario)


def test_an_export_is_the_tree_byte_for_byte(run: Run, tmp_path: pathlib.Path) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        await seeded(repos, made)
        files = {
            "agent.toml": b"schema = 1\r\n",
            "bin/deep/er/run": b"#!/bin/sh\n\x00\xff",
            "empty": b"",
            "prompts/$Id$.md": b"$Id$\n",
            "ünï code.md": b"x" * 100_000,
        }
        new = await bring(repos, made, 7, files)
        target = tmp_path / "out" / "tree"
        await repos.export(CODER, new.sha, str(target))
        found = {
            str(path.relative_to(target)): path.read_bytes()
            for path in target.rglob("*")
            if path.is_file()
        }
        assert found == files
        assert {stat.S_IMODE(path.stat().st_mode) for path in target.rglob("*")} == {0o644, 0o755}
        with refused(Error.CONFLICT, "it is not empty"):
            await repos.export(CODER, new.sha, str(target))
        with refused(Error.NOT_FOUND, "no such commit"):
            await repos.export(CODER, "3" * 40, str(tmp_path / "other"))

    run(scenario)


def test_reconcile_makes_what_is_missing(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        new = await bring(repos, made, 7, {"a": b"1"}, [seed.sha])
        wanted = [
            tag(Kind.DEPLOYED, 0, seed.sha),
            tag(Kind.PROPOSAL, 7, new.sha),
            tag(Kind.APPROVED, 7, new.sha),
            tag(Kind.DEPLOYED, 7, new.sha, "it works"),
        ]
        assert await repos.reconcile(CODER, wanted, new.sha) == []
        assert await repos.main(CODER) == new.sha
        assert set(await repos.tags(CODER)) == set(wanted)
        before = await repos.refs(CODER)
        made.clock.advance(60)
        assert await repos.reconcile(CODER, wanted, new.sha) == []
        assert await repos.reconcile(CODER, wanted, None) == []
        assert await repos.refs(CODER) == before
        # A store from a backup: git is ahead of it.
        assert await repos.reconcile(CODER, wanted, seed.sha) == [
            f"main is at {new.sha[:12]}, the store says {seed.sha[:12]}"
        ]
        assert await repos.refs(CODER) == before

    run(scenario)


def test_reconcile_reports_what_differs_and_leaves_it(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        seed = await seeded(repos, made)
        new = await bring(repos, made, 7, {"a": b"1"}, [seed.sha])
        await repos.pin(CODER, [tag(Kind.APPROVED, 7, new.sha), tag(Kind.DENIED, 9, new.sha)])
        before = await repos.refs(CODER)
        said = await repos.reconcile(
            CODER,
            [
                tag(Kind.DEPLOYED, 0, seed.sha),
                tag(Kind.PROPOSAL, 7, new.sha),
                tag(Kind.APPROVED, 7, seed.sha),
                tag(Kind.DEPLOYED, 7, seed.sha),
            ],
            None,
        )
        assert said == [
            f"tag approved/7 is at {new.sha[:12]}, the store says {seed.sha[:12]}",
            f"refs/tags/denied/9 at {new.sha[:12]} is not known to the store",
        ]
        assert await repos.refs(CODER) == before | {"refs/tags/deployed/7": seed.sha}

    run(scenario)


def test_a_pack_that_is_none_is_refused(run: Run) -> None:
    async def scenario(repos: ports.ConfigRepos, made: Made) -> None:
        await seeded(repos, made)
        sha = made.commit({"a": b"1"})
        made.known.pop(sha)
        with pytest.raises(errors.HiveError) as caught:
            await repos.import_commit(CODER, ids.ApprovalId(3), sha, made.produce(sha))
        assert caught.value.kind is Error.INVALID
        assert [each.name for each in await repos.tags(CODER)] == ["deployed/0"]

    run(scenario)


def test_objects_are_gits_own() -> None:
    """Ids as the git book gives them; a pack comes back as it went in."""
    assert git_objects.object_id("blob", b"test content\n") == (
        "d670460b4b4aece5915caf5c68d12f560a9fe3e4"
    )
    assert git_objects.tree_objects({})[0] == git_objects.EMPTY_TREE
    rows = [("blob", b""), ("blob", b"x" * 5000), ("commit", b"tree 1\n"), ("tag", b"y" * 16)]
    assert git_objects.read_pack(git_objects.write_pack(rows)) == rows
