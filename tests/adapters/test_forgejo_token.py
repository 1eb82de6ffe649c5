"""The hunt for the token: while the mirror pushes, watchers read what /proc shows of everybody.

One watcher is an unprivileged user, one is root. Each is first shown to see a token that is
carelessly handled. Afterwards every file that the pushes left is searched.
"""

from __future__ import annotations

import asyncio
import base64
import os
import pathlib
import select
import subprocess
import sys
import urllib.parse

import pytest

from hyperhive import ports
from hyperhive.adapters.mirror import redact
from rigs.forge import Forge, Kind, Stage
from rigs.forge.bench import Bench, bench

NOBODY = 65534
PUSHES = 30

WATCH = """
import os, select, sys
forms = [form.encode() for form in sys.stdin.readline().split()]
uid = int(sys.argv[1])
if uid:
    os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
print("ready", flush=True)
rounds, seen = 0, set()
# Its end is asked for by closing its standard input, which also the test's own death does.
while not select.select([0], [], [], 0)[0]:
    rounds += 1
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    text = file.read()
            except OSError:
                continue
            if name == "cmdline" and b"git" in text:
                seen.add(pid)
            if any(form in text for form in forms):
                print("hit", name, text[:300], flush=True)
print("rounds", rounds, "git processes", len(seen), flush=True)
"""


class _Watcher:
    def __init__(self, uid: int, forms: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", WATCH, str(uid)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._input.write(" ".join(forms) + "\n")
        self._input.flush()
        assert self._output.readline() == "ready\n"

    def sees(self, argv: list[str], env: dict[str, str]) -> bool:
        """Whether a program that is run so gives the token away; takes its hits away."""
        careless = subprocess.Popen(argv, env=env)
        try:
            ready, _, _ = select.select([self._output], [], [], 5)
            return bool(ready) and self._output.readline().startswith("hit")
        finally:
            careless.kill()
            careless.wait()

    def finish(self) -> list[str]:
        """End it; its hits, and last how much it has seen."""
        self._input.close()
        lines = self._output.read().splitlines()
        self._output.close()
        assert self._process.wait() == 0
        return lines


def test_forms_cover_every_alignment() -> None:
    token = "s3cret/+token=="
    for lead in range(4):
        for trail in range(4):
            text = b"x" * lead + token.encode() + b"y" * trail
            for encoded in (base64.b64encode(text), base64.urlsafe_b64encode(text)):
                assert redact.MARK in redact.redact(f"got {encoded.decode()}", token)
    for shown in (token, urllib.parse.quote(token, safe=""), token.encode().hex()):
        said = redact.redact(f"\x1b[31mfailed\n with {shown} and more", token)
        assert said == f"[31mfailed with {redact.MARK} and more"
    assert len(redact.redact("x" * 5000, token)) == redact.LENGTH


@pytest.mark.skipif(os.geteuid() != 0, reason="an unprivileged watcher is made by root")
def test_nobody_sees_the_token_while_it_is_used(tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with (
            bench(tmp_path, seconds=10) as world,
            Forge.running(tmp_path / "other") as other,
        ):
            await _hunt(world, other, tmp_path)

    asyncio.run(story())


async def _hunt(world: Bench, other: Forge, root: pathlib.Path) -> None:
    forms = redact.forms(world.token)
    watchers = [_Watcher(uid, forms) for uid in (NOBODY, 0)]
    found: list[list[str]] = []
    said: list[str] = []
    try:
        for number in range(PUSHES):
            world.source.set(f"refs/tags/failed/{number}", world.source.commit(str(number)))
            world.forge.troubles.clear()
            kind, stage = [
                (None, Stage.API),
                (Kind.STATUS, Stage.PUSH),
                (Kind.REDIRECT, Stage.REFS),
                (Kind.REDIRECT, Stage.PUSH),
                (Kind.RESET, Stage.PUSH),
            ][number % 5]
            if kind is not None:
                status = 302 if kind is Kind.REDIRECT else (500, 401, 404, 403)[number % 4]
                world.forge.spoil(kind, stage, status=status, location=other.url)
            try:
                await world.sync()
            except ports.MirrorError as error:
                said.append(error.message)
    finally:
        found = [watcher.finish() for watcher in watchers]
    for lines in found:
        assert [line for line in lines if line.startswith("hit")] == []
        _, rounds, *_, gits = lines[-1].split()
        # It was there often enough to see the programs that it had to look at.
        assert int(rounds) > 10
        assert int(gits) > PUSHES
    assert len(said) == PUSHES * 4 // 5
    assert other.seen == []
    left = [*said, *world.notices]
    left += [path.read_bytes().decode("latin-1") for path in root.rglob("*") if path.is_file()]
    assert len(left) > 50
    assert [text for text in left for form in forms if form in text] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="an unprivileged watcher is made by root")
@pytest.mark.parametrize(("uid", "where"), [(NOBODY, "cmdline"), (0, "cmdline"), (0, "environ")])
def test_the_watchers_see_a_careless_program(uid: int, where: str) -> None:
    token = "0123456789abcdef" * 2
    pair = base64.b64encode(f"hyperhive:{token}".encode()).decode()
    watcher = _Watcher(uid, redact.forms(token))
    careless = [sys.executable, "-S", "-c", "import time; time.sleep(30)"]
    if where == "cmdline":
        assert watcher.sees([*careless, f"Authorization: Basic {pair}"], {})
    else:
        assert watcher.sees(careless, {"GIT_CONFIG_VALUE_0": pair})
    watcher.finish()
