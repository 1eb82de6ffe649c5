"""What every `ports.OneShots` promises, as stories that need no pytest.

`contracts/test_one_shot.py` tells them to the memory twin and to the real thing; as root it also
has them told by an ordinary user, on the system's own Python (`sandbox_bench`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import shutil
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from hyperhive import ports
from hyperhive.adapters.sandbox import merged
from hyperhive.domain import errors

MIXED = ("sh", "-c", "echo out; echo err >&2; exit 3")
FOREVER = ("sh", "-c", "(setsid sh -c 'while :; do date +%s%N > /tmp/out/beat; done' &) ; sleep 60")
BIG = ("sh", "-c", "head -c 5000 /dev/zero")
KILLED = ("sh", "-c", "kill -9 $$")
GIVEN = ("sh", "-c", 'echo "$GIVEN $(pwd)"')
WRITE = ("sh", "-c", "echo made > /tmp/out/made")
COPY = ("cat",)
MISSING = ("no-such-program",)


class Bench(Protocol):
    """What a story is told on."""

    top: pathlib.Path
    one_shots: ports.OneShots


Story = Callable[[Bench], Awaitable[None]]


async def refusal(work: Awaitable[object]) -> str:
    """Return the message of the `HiveError` UNAVAILABLE that *work* ends with."""
    try:
        await work
    except errors.HiveError as error:
        assert error.kind is errors.ErrorKind.UNAVAILABLE, error
        return error.message
    raise AssertionError("it was not refused")


async def gives_code_and_both_outputs(bench: Bench) -> None:
    result = await bench.one_shots.run(ports.OneShot(MIXED, {}))
    assert result == ports.ProcessResult(3, b"out\n", b"err\n")
    assert (await bench.one_shots.run(ports.OneShot(KILLED, {}))).code == 137


async def hands_over_input_environment_and_directory(bench: Bench) -> None:
    text = b"x" * 300_000
    assert (await bench.one_shots.run(ports.OneShot(COPY, {}), stdin=text)).stdout == text
    given = bench.top / "given"
    given.write_bytes(text)
    assert (await bench.one_shots.run(ports.OneShot(COPY, {}), stdin=given)).stdout == text
    order = ports.OneShot(GIVEN, {"GIVEN": "yes"}, cwd="/usr")
    assert (await bench.one_shots.run(order)).stdout == b"yes /usr\n"


async def writes_its_output_to_a_file(bench: Bench) -> None:
    target = bench.top / "said"
    result = await bench.one_shots.run(ports.OneShot(MIXED, {}), stdout=target)
    assert result == ports.ProcessResult(3, b"", b"err\n")
    assert target.read_bytes() == b"out\n"
    assert target.stat().st_mode & 0o7777 == 0o600


async def hands_over_lines_as_they_come(bench: Bench) -> None:
    lines: list[str] = []
    await bench.one_shots.run(ports.OneShot(MIXED, {}), on_line=lines.append)
    assert sorted(lines) == ["err", "out"]


async def ends_what_takes_too_long(bench: Bench) -> None:
    out = bench.top / "out"
    out.mkdir()
    binds = (ports.Bind(out, "/tmp/out", writable=True),)
    begin = time.monotonic()
    said = await refusal(bench.one_shots.run(ports.OneShot(FOREVER, {}, binds), timeout=1.0))
    assert "took longer than 1 s" in said
    assert time.monotonic() - begin < 10
    await _nothing_beats(out)


async def ends_all_when_cancelled(bench: Bench) -> None:
    out = bench.top / "out"
    out.mkdir()
    binds = (ports.Bind(out, "/tmp/out", writable=True),)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(bench.one_shots.run(ports.OneShot(FOREVER, {}, binds)))
        async with asyncio.timeout(20):
            while not (out / "beat").exists():
                await asyncio.sleep(0.01)
        task.cancel()
    assert task.cancelled()
    await _nothing_beats(out)


async def cancels_at_any_moment(bench: Bench) -> None:
    """Also in the middle of the set-up nothing is left that runs."""
    for number in range(12):
        out = bench.top / f"out{number}"
        out.mkdir()
        binds = (ports.Bind(out, "/tmp/out", writable=True),)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(bench.one_shots.run(ports.OneShot(FOREVER, {}, binds)))
            await asyncio.sleep(0.01 * number)
            task.cancel()
        await _nothing_beats(out)


async def refuses_too_much_output(bench: Bench) -> None:
    order = ports.OneShot(BIG, {})
    said = await refusal(bench.one_shots.run(order, output_limit=4000))
    assert "more than 4000 bytes" in said
    target = bench.top / "said"
    said = await refusal(bench.one_shots.run(order, output_limit=4000, stdout=target))
    assert "more than 4000 bytes" in said
    assert len((await bench.one_shots.run(order, output_limit=6000)).stdout) == 5000


async def says_what_cannot_be_run(bench: Bench) -> None:
    said = await refusal(bench.one_shots.run(ports.OneShot(MISSING, {})))
    assert said.startswith("cannot run no-such-program in a throw-away sandbox: "), said
    gone = (ports.Bind(bench.top / "gone", "/tmp/gone"),)
    said = await refusal(bench.one_shots.run(ports.OneShot(MIXED, {}, gone)))
    assert "does not exist" in said


async def what_it_writes_is_the_daemons(bench: Bench) -> None:
    out = bench.top / "out"
    out.mkdir(mode=0o700)
    binds = (ports.Bind(out, "/tmp/out", writable=True),)
    assert (await bench.one_shots.run(ports.OneShot(WRITE, {}, binds))).code == 0
    assert (out / "made").read_text() == "made\n"
    assert (out / "made").stat().st_uid == out.stat().st_uid


async def a_layer_is_what_changed(bench: Bench) -> None:
    """Root of its own namespace writes, removes and gives away; below nothing changes."""
    base = _mini_root(bench.top / "base")
    upper = bench.top / "workshop" / "root"
    upper.parent.mkdir()
    script = "id -u; echo new > /etc/made; rm /etc/old; chmod 600 /etc/kept; rm -r /srv; mkdir /srv"
    order = ports.OneShot(
        ("sh", "-c", script), {}, (ports.Bind(pathlib.Path("/usr"), "/usr"),),
        lowers=(base,), upper=upper, as_root=True,
    )  # fmt: skip
    result = await bench.one_shots.run(order)
    assert result == ports.ProcessResult(0, b"0\n", b"")
    assert (upper / "etc/made").read_text() == "new\n"
    assert (upper / "etc/made").stat().st_uid == bench.top.stat().st_uid
    assert (upper / "etc/kept").stat().st_mode & 0o777 == 0o600
    assert (base / "etc/kept").stat().st_mode & 0o777 == 0o644
    assert (upper / "etc/old").is_char_device() and (base / "etc/old").exists()
    assert [path.name for path in upper.parent.iterdir()] == ["root"]
    look = dataclasses.replace(
        order, argv=("sh", "-c", "ls /etc /srv; touch /etc/x"), lowers=(upper, base),
        upper=None, as_root=False,
    )  # fmt: skip
    result = await bench.one_shots.run(look)
    assert result.code != 0 and b"Read-only" in result.stderr
    names = result.stdout.decode().split()
    assert "made" in names and "old" not in names and "thing" not in names
    root = merged.merge(bench.top / "merged", (upper, base))
    assert (root / "etc/made").read_text() == "new\n" and not (root / "etc/old").exists()
    assert list((root / "srv").iterdir()) == []
    assert merged.merge(bench.top / "merged", (upper, base)) == root
    shutil.rmtree(upper)
    merged.merge(bench.top / "merged", (base,))
    assert not root.exists()


def _mini_root(base: pathlib.Path) -> pathlib.Path:
    for name in ("etc", "proc", "dev", "tmp", "run", "var/tmp", "usr", "srv", "state"):
        (base / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (base / name).symlink_to(f"usr/{name}")
    etc = ("passwd", "group", "hosts", "hostname", "resolv.conf", "old", "kept")
    for name in (*(f"etc/{name}" for name in etc), "srv/thing"):
        (base / name).write_text("old\n")
        (base / name).chmod(0o644)
    return base


async def _nothing_beats(out: pathlib.Path) -> None:
    """Whoever wrote there has ended: two looks see the same."""
    beat = out / "beat"
    before = beat.read_bytes() if beat.exists() else b""
    await asyncio.sleep(0.05)
    assert (beat.read_bytes() if beat.exists() else b"") == before


REAL_STORIES: dict[str, Story] = {a_layer_is_what_changed.__name__: a_layer_is_what_changed}
"""For the real thing alone."""

STORIES: dict[str, Story] = {
    story.__name__: story
    for story in (
        gives_code_and_both_outputs,
        hands_over_input_environment_and_directory,
        writes_its_output_to_a_file,
        hands_over_lines_as_they_come,
        ends_what_takes_too_long,
        ends_all_when_cancelled,
        cancels_at_any_moment,
        refuses_too_much_output,
        says_what_cannot_be_run,
        what_it_writes_is_the_daemons,
    )
}
