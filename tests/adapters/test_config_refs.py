"""Refs that somebody or something changed behind our back: reported, or made again (P7)."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pathlib
import random
import shutil
import subprocess
from collections.abc import Callable

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.config_repo import locks
from hyperhive.domain import errors
from rigs.config_repos import CODER, CODER_NAME, SEED, Made, bring, real, tag
from rigs.repository_crashes import check_whole, read_refs

MUTATIONS = int(os.environ.get("HIVE_TEST_MUTATIONS", "12"))
Kind = ports.TagKind


@dataclasses.dataclass
class Shelf:
    """An applied repository with a history, and what the store wants of it."""

    home: pathlib.Path
    wanted: list[ports.Tag]
    commits: list[str]
    """Seed, deployed, denied: the third does not descend from the second."""

    @property
    def path(self) -> pathlib.Path:
        return self.home / f"applied/{CODER}.git"

    @property
    def main(self) -> str:
        return self.commits[1]

    def refs(self) -> dict[str, str]:
        names = {f"refs/tags/{each.name}": each.sha for each in self.wanted}
        return names | {"refs/heads/main": self.main}

    def copy(self, home: pathlib.Path) -> Shelf:
        shutil.copytree(self.home, home)
        return dataclasses.replace(self, home=home)

    def reconcile(self) -> list[str]:
        async def main() -> list[str]:
            repos, _ = real(self.home, ManualClock())
            return await repos.reconcile(CODER, self.wanted, self.main)

        return asyncio.run(main())

    def git(self, *args: str) -> None:
        """Another change may have broken what git needs for this one."""
        subprocess.run(["git", f"--git-dir={self.path}", *args], check=False, capture_output=True)

    def write(self, name: str, content: bytes) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_bytes(content)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    home = tmp_path_factory.mktemp("shelf") / "hive"

    async def main() -> Shelf:
        clock = ManualClock()
        repos, _ = real(home, clock)
        seed = await repos.seed(CODER, CODER_NAME, SEED, os.geteuid())
        made = Made(clock)
        made.commit(SEED, message="Begin the configuration")
        new = await bring(repos, made, 7, {"a": b"1\n"}, [seed.sha])
        aside = await bring(repos, made, 8, {"a": b"2\n"}, [seed.sha])
        wanted = [
            tag(Kind.DEPLOYED, 0, seed.sha),
            tag(Kind.PROPOSAL, 7, new.sha),
            tag(Kind.APPROVED, 7, new.sha),
            tag(Kind.BUILDING, 7, new.sha),
            tag(Kind.DEPLOYED, 7, new.sha),
            tag(Kind.PROPOSAL, 8, aside.sha),
            tag(Kind.DENIED, 8, aside.sha, "no"),
        ]
        await repos.pin(CODER, wanted)
        await repos.advance_main(CODER, new.sha)
        return Shelf(home, wanted, [seed.sha, new.sha, aside.sha])

    return asyncio.run(main())


Mutation = Callable[[Shelf, random.Random], "str | None"]
"""Changes something; returns the ref that has another value now, None when it only lost one."""


def some_tag(shelf: Shelf, chance: random.Random) -> ports.Tag:
    return chance.choice(shelf.wanted)


def delete(shelf: Shelf, chance: random.Random) -> str | None:
    (shelf.path / f"refs/tags/{some_tag(shelf, chance).name}").unlink(missing_ok=True)
    return None


def delete_main(shelf: Shelf, chance: random.Random) -> str | None:
    (shelf.path / "refs/heads/main").unlink(missing_ok=True)
    return None


def truncate(shelf: Shelf, chance: random.Random) -> str | None:
    """As a lost write leaves it: nothing, zeros, half of it, or bytes of something else."""
    content = chance.choice([b"", b"\0" * 41, b"1" * 20, b"0" * 40 + b"\n", os.urandom(50)])
    ref = chance.choice(["refs/heads/main", f"refs/tags/{some_tag(shelf, chance).name}"])
    shelf.write(ref, content)
    return None


def delete_all(shelf: Shelf, chance: random.Random) -> str | None:
    shutil.rmtree(shelf.path / "refs/tags", ignore_errors=True)
    return None


def drop_packed(shelf: Shelf, chance: random.Random) -> str | None:
    shelf.git("pack-refs", "--all")
    (shelf.path / "packed-refs").unlink(missing_ok=True)
    return None


def garble_packed(shelf: Shelf, chance: random.Random) -> str | None:
    shelf.git("pack-refs", "--all")
    path = shelf.path / "packed-refs"
    if path.exists():
        content = bytearray(path.read_bytes())
        at = chance.randrange(len(content))
        content[at : at + chance.randint(1, 80)] = b"\0" * chance.randint(1, 80)
        path.write_bytes(content)
    return None


def lock_everything(shelf: Shelf, chance: random.Random) -> str | None:
    for ref in ("HEAD", "packed-refs", "config", f"refs/tags/{some_tag(shelf, chance).name}"):
        shelf.write(f"{ref}.lock", b"")
    return None


def break_head(shelf: Shelf, chance: random.Random) -> str | None:
    content = chance.choice([b"", b"ref: refs/heads/other\n", shelf.commits[0].encode() + b"\n"])
    (shelf.path / "HEAD").write_bytes(content)
    return None


def main_behind(shelf: Shelf, chance: random.Random) -> str | None:
    (shelf.path / "refs/heads/main").write_text(f"{shelf.commits[0]}\n")
    return None


def main_aside(shelf: Shelf, chance: random.Random) -> str | None:
    (shelf.path / "refs/heads/main").write_text(f"{shelf.commits[2]}\n")
    return "main"


def move(shelf: Shelf, chance: random.Random) -> str | None:
    each = some_tag(shelf, chance)
    other = chance.choice([sha for sha in shelf.commits if sha != each.sha])
    (shelf.path / f"refs/tags/{each.name}").write_text(f"{other}\n")
    return each.name


def point_nowhere(shelf: Shelf, chance: random.Random) -> str | None:
    each = some_tag(shelf, chance)
    (shelf.path / f"refs/tags/{each.name}").write_text(f"{'7' * 40}\n")
    return each.name


def add(shelf: Shelf, chance: random.Random) -> str | None:
    name = chance.choice(["tags/deployed/99", "heads/other", "tags/v1", f"replace/{'1' * 40}"])
    shelf.git("update-ref", f"refs/{name}", chance.choice(shelf.commits))
    return f"refs/{name}"


MILD = [delete, delete_main, truncate, delete_all, drop_packed, garble_packed, lock_everything,
        break_head, main_behind]  # fmt: skip
HARD = [main_aside, move, point_nowhere, add]


def test_whatever_is_lost_is_made_again(shelf: Shelf, tmp_path: pathlib.Path) -> None:
    seed = int(os.environ.get("HIVE_TEST_SEED", "0")) or random.randrange(1 << 30)
    print(f"HIVE_TEST_SEED={seed}")
    chance = random.Random(seed)
    for number in range(MUTATIONS):
        one = shelf.copy(tmp_path / "hive")
        steps = chance.sample(MILD, chance.randint(1, 3))
        for step in steps:
            step(one, chance)
        note = f"{number}: {[step.__name__ for step in steps]}"
        assert one.reconcile() == [], note
        assert read_refs(one.path) == shelf.refs(), note
        check_whole(one.home)
        shutil.rmtree(one.home)


def test_whatever_differs_is_said_and_left(shelf: Shelf, tmp_path: pathlib.Path) -> None:
    seed = int(os.environ.get("HIVE_TEST_SEED", "0")) or random.randrange(1 << 30)
    print(f"HIVE_TEST_SEED={seed}")
    chance = random.Random(seed)
    for number in range(MUTATIONS):
        one = shelf.copy(tmp_path / "hive")
        hard = chance.choice(HARD)
        changed = hard(one, chance)
        assert changed is not None
        ref = f"refs/heads/{changed}" if changed == "main" else changed
        ref = ref if ref.startswith("refs/") else f"refs/tags/{ref}"
        value = (one.path / ref).read_text()
        # Something else is missing at the same time, and is made again all the same.
        lost = chance.choice(
            [name for name in shelf.refs() if name not in (ref, "refs/heads/main")]
        )
        (one.path / lost).unlink()
        note = f"{number}: {hard.__name__} {changed}, lost {lost}"
        said = one.reconcile()
        assert len(said) == 1, note
        assert changed in said[0], note
        assert (one.path / ref).read_text() == value, note
        kept = {name: sha for name, sha in shelf.refs().items() if name != ref}
        assert kept.items() <= read_whole(one.path).items(), note
        assert one.reconcile() == said, note
        shutil.rmtree(one.home)


def read_whole(path: pathlib.Path) -> dict[str, str]:
    """As `read_refs`, without looking at what the refs point to."""
    said = subprocess.run(
        ["git", f"--git-dir={path}", "rev-parse", "--symbolic-full-name", "--all"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    found: dict[str, str] = {}
    for ref in said.split():
        peeled = subprocess.run(
            ["git", f"--git-dir={path}", "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        found[ref] = peeled.strip()
    return found


def test_a_commit_that_is_gone_is_named(shelf: Shelf, tmp_path: pathlib.Path) -> None:
    one = shelf.copy(tmp_path / "hive")
    for pack in (one.path / "objects/pack").iterdir():
        pack.unlink()
    shutil.rmtree(one.path / "refs/tags")
    said = one.reconcile()
    assert [f"commit {sha[:12]} is not in the repository any more" in said
            for sha in shelf.commits] == [True] * 3  # fmt: skip


def test_a_git_that_a_dead_daemon_left_keeps_the_lock(shelf: Shelf, tmp_path: pathlib.Path) -> None:
    """The descriptor that a git inherited is the lock: nobody sweeps while it lives."""
    one = shelf.copy(tmp_path / "hive")
    (one.path / "HEAD.lock").touch()

    async def main() -> None:
        repos, _ = real(one.home, ManualClock())
        # An orphan that inherited the lock's descriptor, as a git of a killed daemon has.
        lock = one.home / f"run/locks/applied-{CODER}.lock"
        lock.parent.mkdir(exist_ok=True)
        orphan = subprocess.Popen(["flock", lock, "cat"], stdin=subprocess.PIPE)
        try:
            while subprocess.run(["flock", "-n", lock, "true"], check=False).returncode == 0:
                await asyncio.sleep(0.02)
            waiting = asyncio.get_running_loop().create_task(
                repos.pin(CODER, [tag(Kind.DENIED, 9, one.main, "no")])
            )
            done, _ = await asyncio.wait([waiting], timeout=0.5)
            assert not done
            assert (one.path / "HEAD.lock").exists()
            assert orphan.stdin is not None
            orphan.stdin.close()
            await waiting
        finally:
            orphan.kill()
            orphan.wait()

    asyncio.run(main())
    assert not (one.path / "HEAD.lock").exists()
    assert read_refs(one.path)["refs/tags/denied/9"] == one.main


def test_a_lock_that_nobody_gives_back_is_an_error_with_its_name(tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        held = locks.Locks(tmp_path / "locks", patience=0.2)
        other = locks.Locks(tmp_path / "locks", patience=0.2)
        async with held.hold("meta", tmp_path):
            with pytest.raises(errors.HiveError, match=r"still holds .*meta\.lock") as caught:
                async with other.hold("meta", tmp_path):
                    pass
            assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
        async with other.hold("meta", tmp_path):
            pass

    asyncio.run(main())
