"""Host uids of agents: each home has its own, whatever happens to homes and daemons."""

from __future__ import annotations

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from hyperhive.adapters.hive_home import home as homes
from hyperhive.adapters.hive_home import uids
from hyperhive.domain import errors


class Host:
    """Homes and their registry."""

    def __init__(self, top: pathlib.Path) -> None:
        self.top = top
        self.registry = top / "registry"

    def home(self, name: str, *agents: str) -> pathlib.Path:
        with homes.hold(self.top / name):
            for agent in agents:
                (self.top / name / "agents" / agent).mkdir()
        return self.top / name

    def first(self, name: str, wanted: int = 0) -> int:
        """The first uid that a daemon of that home gets; it ends at once."""
        with uids.reserve(self.top / name, wanted, self.registry) as first:
            return first

    def refuses(self, name: str, *words: str, wanted: int = 0) -> None:
        with pytest.raises(errors.HiveError) as caught:
            self.first(name, wanted)
        assert caught.value.kind is errors.ErrorKind.CONFLICT
        for word in words:
            assert word in caught.value.message


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose ranges begin where no process of the real one has a uid."""
    monkeypatch.setattr(uids, "FIRST", 1_500_000_000)
    return Host(tmp_path)


def test_each_home_gets_a_range_and_keeps_it(host: Host) -> None:
    for name in ("a", "b", "c"):
        host.home(name)
    first = [host.first(name) for name in ("a", "b", "c")]
    assert first == [uids.FIRST, uids.FIRST + uids.SIZE, uids.FIRST + 2 * uids.SIZE]
    assert [host.first(name) for name in ("c", "b", "a")] == first[::-1]
    # Also when one of the two places has lost it.
    (host.top / "b" / uids.KEPT_IN).unlink()
    (host.registry / str(first[2])).unlink()
    assert [host.first(name) for name in ("a", "b", "c")] == first


def test_a_home_of_before_keeps_what_its_agents_have(host: Host) -> None:
    host.home("new")
    host.home("old", "0123456789ab")
    assert host.first("old") == uids.FIRST
    assert host.first("new") == uids.FIRST + uids.SIZE
    host.home("other", "ba9876543210")
    host.refuses("other", str(host.top / "old"), "1500000000 to 1500009999", "uid_base")
    assert host.first("other", wanted=1_600_000_000) == 1_600_000_000


@pytest.mark.parametrize("apart", [0, 9_999, -9_999])
def test_a_range_that_was_set_must_not_touch_another(host: Host, apart: int) -> None:
    host.home("a")
    host.home("b")
    assert host.first("a") == uids.FIRST
    host.refuses("b", str(host.top / "a"), wanted=uids.FIRST + apart)
    assert host.first("b", wanted=uids.FIRST + uids.SIZE) == uids.FIRST + uids.SIZE


def test_who_takes_another_range_gives_the_old_one_back(host: Host) -> None:
    host.home("a")
    host.home("b")
    assert host.first("a") == uids.FIRST
    assert host.first("a", wanted=1_700_000_000) == 1_700_000_000
    assert host.first("a") == 1_700_000_000
    assert host.first("b") == uids.FIRST


def test_a_home_that_moved_is_itself_and_a_copy_is_another(host: Host) -> None:
    host.home("a", "0123456789ab")
    assert host.first("a") == uids.FIRST
    shutil.copytree(host.top / "a", host.top / "copy")
    host.refuses("copy", str(host.top / "a"))
    (host.top / "a").rename(host.top / "moved")
    assert host.first("moved") == uids.FIRST
    host.refuses("copy", str(host.top / "moved"))


def test_the_range_of_a_home_that_is_gone_is_free_once_nobody_uses_it(host: Host) -> None:
    host.home("a")
    host.home("b")
    with uids.reserve(host.top / "a", 0, host.registry) as first:
        shutil.rmtree(host.top / "a")
        with uids.reserve(host.top / "b", 0, host.registry) as other:
            assert other == first + uids.SIZE
    host.home("c")
    assert host.first("c") == first
    # A registration that a crash cut short is nobody's.
    (host.registry / str(first + 2 * uids.SIZE)).touch()
    host.home("d")
    assert host.first("d") == first + 2 * uids.SIZE


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another uid")
def test_a_process_that_was_left_keeps_its_range(host: Host) -> None:
    host.home("a")
    host.home("b")
    assert host.first("a", wanted=77_000_000) == 77_000_000
    shutil.rmtree(host.top / "a")
    left = subprocess.Popen(["sleep", "60"], user=77_000_003)
    try:
        host.refuses("b", str(host.top / "a"), wanted=77_000_000)
    finally:
        left.kill()
        left.wait()
    assert host.first("b", wanted=77_000_000) == 77_000_000


def test_no_two_daemons_of_one_place(host: Host) -> None:
    host.home("a")
    with uids.reserve(host.top / "a", 0, host.registry):
        # As after `rm -r` under a living daemon: the lock in the home is another one.
        shutil.rmtree(host.top / "a")
        host.home("a")
        host.refuses("a", "still runs")


def test_it_says_when_no_range_is_left(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uids, "RANGES", 1)
    host.home("a")
    host.home("b")
    host.first("a")
    with pytest.raises(errors.HiveError, match="all 1 ranges of host uids") as caught:
        host.first("b")
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
    assert host.first("b", wanted=1_800_000_000) == 1_800_000_000


def test_a_note_that_is_no_number_is_named(host: Host) -> None:
    host.home("a")
    (host.top / "a" / uids.KEPT_IN).write_text("many\n")
    with pytest.raises(errors.HiveError, match="uids: it must hold the first host uid"):
        host.first("a")
    # Another home is not held up by it, and takes none of its uids.
    (host.top / "a" / uids.KEPT_IN).unlink()
    first = host.first("a")
    (host.top / "a" / uids.KEPT_IN).write_text("many\n")
    host.home("b")
    assert host.first("b") == first + uids.SIZE


def test_a_registry_that_cannot_be_written_is_named(host: Host) -> None:
    host.home("a")
    host.registry.write_text("in the way")
    with pytest.raises(errors.HiveError, match=r"cannot keep the host uids .*registry") as caught:
        host.first("a")
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE


def test_two_at_once_wait_for_each_other(host: Host) -> None:
    host.home("a")
    host.first("a")
    guard = os.open(host.registry / "lock", os.O_RDWR)
    fcntl.flock(guard, fcntl.LOCK_EX)
    host.home("b")
    locks = pathlib.Path("/proc/locks")
    script = (
        "import pathlib, sys\n"
        "from hyperhive.adapters.hive_home import uids\n"
        f"uids.FIRST = {uids.FIRST}\n"
        "print('began', flush=True)\n"
        "with uids.reserve(pathlib.Path(sys.argv[1]), 0, pathlib.Path(sys.argv[2])) as first:\n"
        "    print(first)\n"
    )
    argv = [sys.executable, "-c", script, str(host.top / "b"), str(host.registry)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "began\n"
        waits = f":{os.fstat(guard).st_ino} "
        while not any("->" in line and waits in line for line in locks.read_text().splitlines()):
            assert other.poll() is None
        os.close(guard)
        assert other.stdout.read() == f"{uids.FIRST + uids.SIZE}\n"
