"""The home of a hive: its modes, and that it has one daemon only."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from hyperhive.adapters.hive_home import home
from hyperhive.domain import errors


def modes(top) -> dict[str, str]:
    return {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in top.iterdir()}


def test_a_home_is_made_passable_where_agents_must_pass_and_closed_elsewhere(tmp_path):
    top = tmp_path / "deep" / "home"
    before = os.umask(0o077)
    try:
        with home.hold(top):
            assert modes(top) == {
                "run": "0o711", "agents": "0o711", "log": "0o700", "store": "0o700",
            }  # fmt: skip
    finally:
        os.umask(before)
    assert stat.S_IMODE(top.stat().st_mode) == 0o711


def test_loosened_directories_are_closed_again(tmp_path):
    with home.hold(tmp_path / "home"):
        pass
    (tmp_path / "home" / "store").chmod(0o755)
    with home.hold(tmp_path / "home"):
        assert modes(tmp_path / "home")["store"] == "0o700"


def test_a_second_daemon_is_refused_and_told_who_is_there(tmp_path):
    with home.hold(tmp_path / "home"):
        words = f"process {os.getpid()}"
        with pytest.raises(errors.HiveError, match=words) as caught, home.hold(tmp_path / "home"):
            raise AssertionError("two daemons")
        assert caught.value.kind is errors.ErrorKind.CONFLICT
        assert "hive down" in caught.value.message
    with home.hold(tmp_path / "home"):
        pass


def test_the_lock_of_a_dead_daemon_is_no_obstacle(tmp_path):
    script = (
        "import os, pathlib, sys\n"
        "from hyperhive.adapters.hive_home import home\n"
        "with home.hold(pathlib.Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "home")], check=False)
    assert done.returncode == -9
    with home.hold(tmp_path / "home"):
        held = (tmp_path / "home" / "run" / "daemon.lock").read_text()
    assert int(held) == os.getpid()


def test_a_home_that_others_may_write_to_is_refused_with_the_remedy(tmp_path):
    top = tmp_path / "home"
    top.mkdir()
    top.chmod(0o775)
    with pytest.raises(errors.HiveError, match="chmod go-w") as caught, home.hold(top):
        pass
    assert caught.value.kind is errors.ErrorKind.INVALID
    assert not (top / "run").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_home_of_somebody_else_is_refused(tmp_path):
    top = tmp_path / "home"
    top.mkdir()
    os.chown(top, 12345, 12345)
    with pytest.raises(errors.HiveError, match="belongs to uid 12345"), home.hold(top):
        pass


def test_a_place_that_cannot_be_a_home_is_unavailable(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(errors.HiveError, match="choose another") as caught, home.hold(place):
            pass
        assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
