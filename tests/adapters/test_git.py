"""The one way in which we run git: on what is ours, with nothing from outside, in clear words."""

from __future__ import annotations

import asyncio
import os
import pathlib
import subprocess

import pytest

from hyperhive import ports
from hyperhive.adapters.config_repo import git
from hyperhive.adapters.process import host, memory
from hyperhive.domain import errors


@pytest.fixture
def own() -> git.Git:
    return git.Git(host.HostProcesses())


@pytest.fixture
def repository(own: git.Git, tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "x.git"
    asyncio.run(own.init(path))
    return path


async def _commit(own: git.Git, repository: pathlib.Path) -> str:
    tree = (await own.run(repository, "mktree", stdin=b"")).decode().strip()
    made = await own.run(repository, "commit-tree", "-m", "one", "--end-of-options", tree)
    return made.decode().strip()


def test_a_new_repository_is_closed_and_has_no_hooks(repository: pathlib.Path) -> None:
    assert repository.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in repository.iterdir()) == [
        "HEAD", "config", "objects", "refs",
    ]  # fmt: skip


def test_init_leaves_what_is_there(own: git.Git, repository: pathlib.Path) -> None:
    sha = asyncio.run(_commit(own, repository))
    asyncio.run(own.init(repository))
    assert asyncio.run(own.run(repository, "cat-file", "-t", sha)) == b"commit\n"


def test_no_configuration_from_outside_and_no_hook_counts(
    own: git.Git, repository: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    hook = f"#!/bin/sh\n: > {canary}\n"
    for place in (repository / "hooks", tmp_path / "hooks"):
        place.mkdir()
        for name in ("reference-transaction", "post-update"):
            (place / name).write_text(hook)
            (place / name).chmod(0o755)
    (tmp_path / ".gitconfig").write_text(
        f"[core]\n\thooksPath = {tmp_path}/hooks\n[user]\n\tname = Mallory\n"
    )
    with (repository / "config").open("a") as stream:
        stream.write(f"[core]\n\thooksPath = {tmp_path}/hooks\n\tfsmonitor = {canary}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Mallory")
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    sha = asyncio.run(_commit(own, repository))
    asyncio.run(own.run(repository, "update-ref", "refs/tags/proposal/1", sha))
    assert not canary.exists()
    assert b"author hyperhive <" in asyncio.run(own.run(repository, "cat-file", "commit", sha))


def test_a_replaced_object_is_shown_as_it_is(own: git.Git, repository: pathlib.Path) -> None:
    async def story() -> None:
        one, other = [
            (await own.run(repository, "hash-object", "-w", "--stdin", stdin=text)).decode().strip()
            for text in (b"approved\n", b"replaced\n")
        ]
        await own.run(repository, "update-ref", f"refs/replace/{one}", other)
        assert await own.run(repository, "cat-file", "blob", one) == b"approved\n"

    asyncio.run(story())


def _refused(own: git.Git, repository: pathlib.Path, match: str) -> None:
    with pytest.raises(errors.HiveError, match=match) as caught:
        asyncio.run(own.run(repository, "rev-parse", "--git-dir"))
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE


def test_what_others_could_write_is_refused(
    own: git.Git, repository: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    _refused(own, tmp_path / "missing.git", "does not exist")
    (tmp_path / "link.git").symlink_to(repository)
    _refused(own, tmp_path / "link.git", "no directory")
    repository.chmod(0o770)
    _refused(own, repository, "us alone")
    repository.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(repository, 640_001, 640_001)
        _refused(own, repository, "us alone")


def test_what_agents_write_is_refused_however_it_is_called(
    repository: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    top = tmp_path / "proposed"
    inside = top / "alice" / "config" / ".git"
    inside.mkdir(parents=True)
    (tmp_path / "alias").symlink_to(top)
    processes = memory.MemoryProcesses()
    strict = git.Git(processes, never=[top])
    for path in (inside, tmp_path / "alias" / "alice" / "config" / ".git", top):
        _refused(strict, path, "agents write there")
    assert processes.calls == []


def test_failures_are_in_words_that_hide_nothing(own: git.Git, repository: pathlib.Path) -> None:
    with pytest.raises(errors.HiveError, match=r"cannot finish git cat-file in x\.git") as caught:
        asyncio.run(own.run(repository, "cat-file", "-p", "--end-of-options", "a\u202eb"))
    assert caught.value.message.isprintable()
    result = asyncio.run(own.attempt(repository, "show-ref", "--verify", "--quiet", "refs/x"))
    assert (result.code, result.stdout) == (1, b"")
    assert asyncio.run(own.run(repository, "show-ref", ok=(0, 1))) == b""


def test_callers_may_name_people_and_dates_only(own: git.Git, repository: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="GIT_EXEC_PATH"):
        asyncio.run(own.run(repository, "version", env={"GIT_EXEC_PATH": "/tmp"}))


def test_a_writer_holds_the_lock(repository: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """git is given the descriptor, and nothing else of ours."""
    seen: list[tuple[int, ...]] = []

    class Spy(host.HostProcesses):
        async def run(self, argv, *, pass_fds=(), **more):  # type: ignore[no-untyped-def]
            seen.append(tuple(pass_fds))
            return await super().run(argv, pass_fds=pass_fds, **more)

    with (tmp_path / "lock").open("w") as stream:
        spied = git.Git(Spy())
        asyncio.run(spied.run(repository, "pack-refs", lock_fd=stream.fileno()))
        asyncio.run(spied.run(repository, "show-ref", ok=(0, 1)))
        assert seen == [(stream.fileno(),), ()]


@pytest.mark.system
def test_what_is_written_is_synced(own: git.Git, repository: pathlib.Path) -> None:
    """git-config(1): core.fsync defaults leave loose objects and refs to chance."""
    trace = repository.parent / "trace"
    sha = asyncio.run(_commit(own, repository))
    argv = ["strace", "-f", "-o", str(trace), "-e", "trace=fsync,fdatasync,rename", "git"]
    argv += [f"--git-dir={repository}", "update-ref", "refs/tags/proposal/1", sha]
    environment = {"PATH": "/usr/bin:/bin", **git.environment()}
    subprocess.run(argv, env=environment, check=True)
    calls = [line.split(None, 1)[1] for line in trace.read_text().splitlines()]
    synced = next(n for n, call in enumerate(calls) if call.startswith(("fsync", "fdatasync")))
    renamed = next(n for n, call in enumerate(calls) if "proposal/1" in call)
    assert synced < renamed
    git.sync_directories(repository)


def test_results_are_those_of_processes(repository: pathlib.Path) -> None:
    processes = memory.MemoryProcesses()
    processes.answer("git", result=ports.ProcessResult(128, b"", b"fatal: \x1b[31mno\n"))
    with pytest.raises(errors.HiveError) as caught:
        asyncio.run(git.Git(processes).run(repository, "gc"))
    assert caught.value.message == (
        r"cannot finish git gc in x.git: code 128: fatal: \u{001b}[31mno"
    )
    [call] = processes.calls
    assert call.argv[:2] == ("git", "--no-replace-objects")
    assert call.cwd == repository
    assert {"GIT_CONFIG_NOSYSTEM", "GIT_NO_LAZY_FETCH", "GIT_CONFIG_COUNT"} <= call.env.keys()
