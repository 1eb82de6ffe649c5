"""A hive of an ordinary user, from his own clone, at a place with a long and odd name."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from tests.system import hive_process as hives
from tests.system.conftest import VERSION
from tests.system.test_bootstrap import clone

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

USER = 61234 if os.geteuid() == 0 else None
"""An ordinary user without an entry in passwd(5); we ourselves when we are one."""
# A socket's path may have 108 bytes (unix(7)).
ODD = f"a place, so to say/für ein Hörnchen 'n' $HOME/{'x' * 80}/home"


@pytest.fixture
def hive(claude_binary: str) -> Iterator[hives.HiveProcess]:
    """A hive that has not been started, of a user who has a clone and the claude program."""
    # Not below pytest's directory, which is closed to other users.
    with tempfile.TemporaryDirectory(prefix="hive-ordinary-") as directory:
        top = pathlib.Path(directory)
        place = clone(top / "clone")
        cache = top / "cache"
        claude = cache / "claude" / VERSION / "claude"
        claude.parent.mkdir(parents=True)
        home = top / ODD
        home.parent.mkdir(parents=True)
        if USER is not None:
            for path in [top, *top.rglob("*")]:
                os.chown(path, USER, USER)
        # After that: a link shares its owner with the original.
        _link(pathlib.Path(claude_binary), claude)
        with hives.hive(
            home, cache, sandbox="host", program=(str(place / "hive"),), uid=USER
        ) as process:
            process.env |= {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_"))}
            process.env["HOME"] = str(top)
            prepared = process.run("version", seconds=400)
            assert prepared.returncode == 0, prepared.stderr
            yield process
        assert hives.processes_of(home) == []
        assert USER is None or processes_of_user() == []


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copy(source, target)


def processes_of_user() -> list[str]:
    """What still runs as our ordinary user; the dead that nobody has reaped do not run."""
    found: list[str] = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if entry.stat().st_uid == USER and (entry / "cmdline").read_bytes():
                    found.append((entry / "cmdline").read_text())
    return found


def test_the_story_and_two_restarts(hive):
    hive.start("--demo")
    hive.until("the manager idles", lambda: hive.agent("manager")["turn_state"] == "idle")
    hive.ask("send", "manager", "Please get me a helper named counter that counts things")
    [request] = hive.until("a request waits", lambda: hive.ask("pending")["approvals"])
    hive.ask("approve", str(request["id"]), "--digest", request["digest"])
    [report] = hive.until(
        "the report", lambda: [m for m in hive.ask("inbox")["messages"] if "1229" in m["body"]]
    )
    assert "the largest is 9973" in report["body"]
    pids = {name: hive.agent(name)["pid"] for name in ("manager", "counter")}

    hive.kill()
    hive.start("--demo")
    assert {name: hive.agent(name)["pid"] for name in pids} == pids
    assert hive.terminate() == 0
    hive.start("--demo")
    assert {name: hive.agent(name)["pid"] for name in pids} == pids
    hive.call("restart", name="counter")
    hive.until(
        "the helper is back", lambda: hive.agent("counter")["pid"] not in (None, pids["counter"])
    )
    owners = {path.lstat().st_uid for path in hive.home.rglob("*")}
    assert owners == {os.geteuid() if USER is None else USER}
    modes = {path: path.lstat().st_mode for path in hive.home.rglob("*") if not path.is_symlink()}
    assert [path for path, mode in modes.items() if mode & 0o002] == []
    assert hive.down() == 0
