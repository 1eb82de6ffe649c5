"""What lies where on the disk, whose it is, and who can read it."""

from __future__ import annotations

import asyncio
import os
import pathlib
import stat
import subprocess
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.config_repo import applied, git, git_objects, locks, meta, tree_files
from hyperhive.adapters.process.host import HostProcesses
from hyperhive.domain import errors, ids
from rigs.config_repos import CODER, CODER_NAME, SEED, Made, bring, entry, real, tag
from rigs.repository_crashes import check_whole, read_refs

Kind = ports.TagKind
OTHER = ids.AgentId("0dd0" * 3)
UID = 640_005 if os.geteuid() == 0 else os.geteuid()
ONE, TWO = "1" * 40, "2" * 40


def run(
    home: pathlib.Path, story: Callable[[applied.AppliedRepos, meta.MetaRepo], Awaitable[None]]
) -> None:
    asyncio.run(_run(home, story))


async def _run(home: pathlib.Path, story: Callable[..., Awaitable[None]]) -> None:
    await story(*real(home, ManualClock()))


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_everything_has_its_owner_whatever_the_umask(tmp_path: pathlib.Path, umask: int) -> None:
    home = tmp_path / "hive"

    async def story(repos: applied.AppliedRepos, log: meta.MetaRepo) -> None:
        seed = await repos.seed(CODER, CODER_NAME, SEED, UID)
        await log.sync([entry("coder", ONE)], "seed meta from 1 agents")
        await repos.publish([(CODER, CODER_NAME)])
        await repos.pin(CODER, [tag(Kind.FAILED, 7, seed.sha, "no")])
        await log.sync([entry("coder", TWO)], "regenerate meta")
        await repos.publish([(CODER, CODER_NAME)])

    before = os.umask(umask)
    try:
        run(home, story)
    finally:
        os.umask(before)
    for name in (f"applied/{CODER}.git", "meta", "meta/.git", "run/locks", "applied"):
        assert mode(home / name) == 0o700, name
    for name in ("proposed", "proposed/coder"):
        assert mode(home / name) == 0o755, name
        assert (home / name).stat().st_uid == os.geteuid()
    config = home / "proposed/coder/config"
    assert {path.lstat().st_uid for path in (config, *config.rglob("*"))} == {UID}
    for path in (home / "export", *(home / "export").rglob("*")):
        assert mode(path) & 0o555 == (0o555 if path.is_dir() else 0o444), path
        assert mode(path) & 0o022 == 0, path
        assert path.lstat().st_uid == os.geteuid()
    assert str(home).encode() not in b"".join(
        path.read_bytes() for path in (home / "export").rglob("*") if path.is_file()
    )
    check_whole(home)


def test_a_proposed_repository_is_never_touched_again(tmp_path: pathlib.Path) -> None:
    home = tmp_path / "hive"
    place = home / "proposed/coder"

    async def story(repos: applied.AppliedRepos, log: meta.MetaRepo) -> None:
        await repos.seed(CODER, CODER_NAME, SEED, UID)
        kept = place / "config"
        # As an ordinary user the manager could put a link, or nothing good, in its place.
        kept.rename(place / "mine")
        kept.symlink_to(tmp_path / "elsewhere")
        await repos.seed(CODER, CODER_NAME, SEED, UID)
        assert kept.is_symlink()
        kept.unlink()
        kept.write_text("a file")
        await repos.seed(CODER, CODER_NAME, SEED, UID)
        assert kept.read_text() == "a file"

    run(home, story)
    assert not (tmp_path / "elsewhere").exists()


def test_a_proposed_repository_is_not_made_through_a_link(tmp_path: pathlib.Path) -> None:
    home = tmp_path / "hive"
    (home / "proposed").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (home / "proposed/coder").symlink_to(tmp_path / "elsewhere")

    async def story(repos: applied.AppliedRepos, log: meta.MetaRepo) -> None:
        with pytest.raises(errors.HiveError, match="proposed/coder is no directory") as caught:
            await repos.seed(CODER, CODER_NAME, SEED, UID)
        assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
        (home / "proposed/coder").unlink()
        await repos.seed(CODER, CODER_NAME, SEED, UID)

    run(home, story)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (home / "proposed/coder/config/agent.toml").is_file()


def test_no_git_of_ours_ever_runs_in_a_proposed_repository(tmp_path: pathlib.Path) -> None:
    home = tmp_path / "hive"

    async def story(repos: applied.AppliedRepos, log: meta.MetaRepo) -> None:
        await repos.seed(CODER, CODER_NAME, SEED, os.geteuid())
        program = git.Git(HostProcesses(), never=[home / "proposed"])
        with pytest.raises(errors.HiveError, match="agents write there"):
            await program.run(home / "proposed/coder/config/.git", "for-each-ref")

    run(home, story)


def test_the_export_follows_and_forgets(tmp_path: pathlib.Path) -> None:
    home = tmp_path / "hive"
    shown = home / "export/applied"
    tester = ids.AgentName("tester")

    async def story(repos: applied.AppliedRepos, log: meta.MetaRepo) -> None:
        await repos.publish([(CODER, CODER_NAME)])
        assert sorted(path.name for path in shown.iterdir()) == ["gitconfig"]
        seed = await repos.seed(CODER, CODER_NAME, SEED, UID)
        await repos.seed(OTHER, tester, {"agent.toml": b"# other\n"}, UID)
        both = [(CODER, CODER_NAME), (OTHER, tester)]
        await repos.publish(both)
        assert sorted(path.name for path in shown.iterdir()) == [
            "coder.git", "coder.gitconfig", "gitconfig", "tester.git", "tester.gitconfig",
        ]  # fmt: skip
        await repos.pin(CODER, [tag(Kind.DENIED, 7, seed.sha, "no")])
        await repos.publish(both)
        assert read_refs(shown / "coder.git") == read_refs(home / f"applied/{CODER}.git")
        # A copy that somebody broke is made again by the next daemon.
        (shown / "coder.git/objects").rename(tmp_path / "objects")
        (shown / "tester.git/refs/heads/main").write_bytes(b"")

    async def story_of_another_daemon(repos: applied.AppliedRepos, log: meta.MetaRepo) -> None:
        # The name was given to another agent: nothing of the first is seen any more.
        await repos.publish([(OTHER, tester), (CODER, CODER_NAME)])
        assert read_refs(shown / "coder.git") == read_refs(home / f"applied/{CODER}.git")
        assert read_refs(shown / "tester.git") == read_refs(home / f"applied/{OTHER}.git")
        await repos.publish([(OTHER, CODER_NAME)])
        assert read_refs(shown / "coder.git") == read_refs(home / f"applied/{OTHER}.git")
        old = (await repos.main(CODER)) or ""
        gone = subprocess.run(
            ["git", f"--git-dir={shown / 'coder.git'}", "cat-file", "-e", old], check=False,
            capture_output=True,
        )  # fmt: skip
        assert gone.returncode != 0
        assert sorted(path.name for path in shown.iterdir()) == [
            "coder.git", "coder.gitconfig", "gitconfig",
        ]  # fmt: skip

    run(home, story)
    run(home, story_of_another_daemon)
    check_whole(home)


def test_what_did_not_change_costs_nothing(tmp_path: pathlib.Path) -> None:
    class Counting(HostProcesses):
        argvs: list[Sequence[str]]

        async def run(self, argv: Sequence[str], **options: object) -> ports.ProcessResult:
            self.argvs.append(argv)
            return await super().run(argv, **options)  # type: ignore[arg-type]

    counting = Counting()
    counting.argvs = []

    async def story() -> None:
        home = tmp_path / "hive"
        home.mkdir()
        (home / "run").mkdir()
        program = git.Git(counting, never=[home / "proposed"])
        held = locks.Locks(home / "run/locks")
        repos = applied.AppliedRepos(
            home, git=program, locks=held, importer=None,  # type: ignore[arg-type]
            clock=ManualClock(),
        )  # fmt: skip
        agents = [(CODER, CODER_NAME), (OTHER, ids.AgentName("tester"))]
        for agent, name in agents:
            await repos.seed(agent, name, SEED, UID)
        await repos.publish(agents)
        counting.argvs.clear()
        await repos.publish(agents)
        assert counting.argvs == []
        seed = await repos.main(CODER)
        assert seed is not None
        await repos.pin(CODER, [tag(Kind.APPROVED, 7, seed)])
        counting.argvs.clear()
        await repos.publish(agents)
        assert len([argv for argv in counting.argvs if "fetch" in argv]) == 1

    asyncio.run(story())


def test_meta_keeps_what_others_add_to_it(tmp_path: pathlib.Path) -> None:
    """The seam for a builder with files of its own: rendered ones, and a lock that it writes."""
    home = tmp_path / "hive"
    home.mkdir()
    relocked: list[set[ids.AgentId]] = []

    def render(entries: Sequence[ports.MetaEntry]) -> Mapping[str, bytes]:
        names = sorted(each.name for each in entries)
        return {"flake.nix": f"# {names}\n".encode()} | {
            f"agents/{name}.nix": b"{}\n" for name in names
        }

    async def relock(work_tree: pathlib.Path, changed: Collection[ids.AgentId]) -> Collection[str]:
        # What it locks is in the index by then: flakes see nothing else.
        said = subprocess.run(
            ["git", "-C", work_tree, "ls-files"], capture_output=True, text=True, check=True
        ).stdout
        assert "flake.nix" in said
        relocked.append(set(changed))
        (work_tree / "flake.lock").write_text(f"{len(relocked)}\n")
        return ["flake.lock"]

    async def story() -> None:
        program = git.Git(HostProcesses())
        log = meta.MetaRepo(
            home, git=program, locks=locks.Locks(home / "run/locks"), clock=ManualClock(),
            render=render, relock=relock,
        )  # fmt: skip
        one, two = entry("coder", ONE), entry("tester", ONE)
        await log.sync([one, two], "seed meta from 2 agents")
        assert relocked == [{one.agent, two.agent}]
        new = entry("coder", TWO)
        await log.prepare(new)
        assert relocked[1:] == [{one.agent}]
        assert (home / "meta/flake.lock").read_text() == "2\n"
        # What was built is what is committed: nothing is resolved a second time.
        await log.finalize(new, ids.ApprovalId(7), "deploy coder")
        assert len(relocked) == 2
        assert (home / "meta/flake.lock").read_text() == "2\n"
        await log.prepare(entry("tester", TWO))
        await log.abort()
        assert (home / "meta/flake.lock").read_text() == "2\n"
        await log.sync([new], "regenerate meta")
        listed = subprocess.run(
            ["git", "-C", home / "meta", "ls-files"], capture_output=True, text=True, check=True
        ).stdout
        assert listed.split() == ["agents/coder.nix", "flake.lock", "flake.nix", "hive.lock"]
        assert not (home / "meta/agents/tester.nix").exists()

    asyncio.run(story())
    check_whole(home)


@pytest.mark.parametrize("content", [None, b"", b"\0" * 41])
def test_metas_log_survives_the_loss_of_its_main(
    tmp_path: pathlib.Path, content: bytes | None
) -> None:
    home = tmp_path / "hive"

    async def story(repos: applied.AppliedRepos, log: meta.MetaRepo) -> None:
        await log.sync([entry("coder", ONE)], "seed meta from 1 agents")
        made = await log.finalize(entry("coder", TWO), ids.ApprovalId(7), "deploy coder")
        main = home / "meta/.git/refs/heads/main"
        if content is None:
            main.unlink()
        else:
            main.write_bytes(content)
        assert await log.sync([entry("coder", TWO)], "regenerate meta") is None
        assert await log.refs() == {"refs/heads/main": made}
        assert len(await log.log()) == 2

    run(home, story)
    check_whole(home)


def test_an_export_that_is_not_the_tree_is_refused(tmp_path: pathlib.Path) -> None:
    blob = git_objects.object_id("blob", b"1\n")
    tree, _ = git_objects.tree_objects({"bin/run": git_objects.Entry("100755", blob)})
    target = tmp_path / "out"
    tree_files.make_empty(target)
    tree_files.write(target, "bin/run", "100755", b"1\n")
    tree_files.check(target, tree)
    (target / "bin/run").chmod(0o644)
    with pytest.raises(errors.HiveError, match="was asked for"):
        tree_files.check(target, tree)
    (target / "bin/run").chmod(0o755)
    (target / "more").write_text("")
    with pytest.raises(errors.HiveError, match="was asked for"):
        tree_files.check(target, tree)
    (target / "more").unlink()
    (target / "link").symlink_to("bin")
    with pytest.raises(errors.HiveError, match=r"symbolic link|no ordinary file"):
        tree_files.check(target, tree)


def test_an_export_is_not_written_through_a_link(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "out"
    tree_files.make_empty(target)
    (tmp_path / "elsewhere").mkdir()
    (target / "bin").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        tree_files.write(target, "bin/run", "100644", b"")
    tree_files.write(target, "one", "100644", b"")
    with pytest.raises(FileExistsError):
        tree_files.write(target, "one", "100644", b"")
    for path in ("../x", "/x", "a/../x", ".git/config", "a/.GIT/x", "", "a//b", "a\0b"):
        with pytest.raises(errors.HiveError) as caught:
            tree_files.write(target, path, "100644", b"")
        assert caught.value.kind is errors.ErrorKind.INVALID
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_ids_are_those_that_git_computes(tmp_path: pathlib.Path) -> None:
    """Names sort as git sorts them, a directory as if it ended in a slash."""
    clock = ManualClock()
    made = Made(clock)
    files = {"a.b": b"1", "a/x": b"2", "a0": b"3", "a-": b"4", "b/c/d": b"5", "Ä": b"6"}
    made.commit(SEED, message="Begin the configuration")

    async def story() -> None:
        repos, _ = real(tmp_path / "hive", clock)
        await repos.seed(CODER, CODER_NAME, SEED, UID)
        commit = await bring(repos, made, 7, files)
        target = tmp_path / "out"
        await repos.export(CODER, commit.sha, str(target))
        assert tree_files.tree_id(target) == commit.tree

    asyncio.run(story())
