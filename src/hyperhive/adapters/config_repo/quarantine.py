"""Where foreign objects are looked at: a directory that dies with the import.

git reads them in `ports.OneShots` sandboxes only: a uid of its own, no network, one
repository, limits. We write what came to a file, and read what git says, as plain bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pathlib
import re
import secrets
import shutil
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Final

from hyperhive import ports
from hyperhive.adapters.config_repo import escapes, git, policy
from hyperhive.domain import errors

INSIDE: Final = "/run/quarantine"
_GIT: Final = ("git", "--no-replace-objects", "--no-optional-locks", f"--git-dir={INSIDE}")
_LISTED: Final = 80
"""Bytes of one line of `Quarantine.sizes`, at most."""
_ALLOCATION: Final = 24 * 1024**2
_MEMORY: Final = 192 * 1024**2
_LIMITS: Final = ports.Limits(memory_bytes=_MEMORY, cpus=1.0, processes=32)
_HEAD: Final = struct.Struct(">4sII")
"""Of a pack: magic, version, number of objects (gitformat-pack(5))."""
_LINE: Final = re.compile(r"([0-9a-f]{40}) (commit|tree|blob|tag) ([0-9]{1,15})")
_CONFIG: Final = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Deadline:
    """The moment by which an import must have its verdict."""

    clock: ports.Clock
    at: float

    def left(self, ref: str) -> float:
        """Seconds that are left; `HiveError` UNAVAILABLE when there are none."""
        left = self.at - self.clock.monotonic()
        if left <= 0:
            raise errors.unavailable(
                f"cannot import {ref}: it took too long; propose a smaller history, or try again"
            )
        return left


class Quarantine:
    """One import's directory and the commands over it. Make it with `opened`."""

    def __init__(
        self,
        top: pathlib.Path,
        one_shots: ports.OneShots,
        ref: str,
        limits: policy.Limits,
        deadline: Deadline,
    ) -> None:
        self._one_shots = one_shots
        self._repository = top / "r.git"
        self._ref = ref
        self._limits = limits
        self._deadline = deadline
        self.received = top / "received"
        """The pack as it came."""
        self.listed = top / "listed"
        """All objects, as ``cat-file --batch`` writes them."""
        self.rewritten = top / "rewritten"
        """The pack that we write."""

    async def receive(self, produce: ports.Produce) -> str:
        """Write what *produce* yields to `received` and return the full commit id of its line."""
        stream = produce(self._ref)
        line = b""
        room = self._limits.pack_bytes
        with _created(self.received) as fd:
            async with contextlib.aclosing(stream):
                try:
                    async with asyncio.timeout(self._deadline.left(self._ref)):
                        async for piece in stream:
                            if not line.endswith(b"\n"):
                                line, piece = _take_line(line, piece)
                            room -= len(piece)
                            if room < 0:
                                raise policy.refusal(
                                    self._ref,
                                    f"its pack has more than {self._limits.pack_bytes} bytes",
                                    "",
                                    "remove large files from all of its commits",
                                )
                            await asyncio.to_thread(_write, fd, piece)
                except TimeoutError as error:
                    raise errors.unavailable(
                        f"cannot import {self._ref}: its repository did not hand it over within "
                        f"{self._limits.seconds:g} s; try again"
                    ) from error
        sha = self._commit_of(line)
        self._judge_header(await asyncio.to_thread(_read_head, self.received))
        return sha

    async def unpack(self) -> None:
        """Let git index what was received, checking each object on its own and as a whole."""
        await self._run(
            ("index-pack", "--stdin", git.STRICT, "--threads=1",
             f"--max-input-size={self._limits.pack_bytes}"),
            stdin=self.received,
            writable=True,
        )  # fmt: skip

    async def sizes(self) -> list[tuple[str, str, int]]:
        """Return name, kind and size of every object that came."""
        said = await self._run(
            ("cat-file", "--batch-all-objects", "--unordered",
             "--batch-check=%(objectname) %(objecttype) %(objectsize)"),
            output_limit=_LISTED * self._limits.objects,
        )  # fmt: skip
        found: list[tuple[str, str, int]] = []
        for line in said.decode("ascii", "replace").splitlines():
            match = _LINE.fullmatch(line)
            if match is None:
                raise self._refused("git listed something that is no object")
            found.append((match[1], match[2], int(match[3])))
        return found

    async def read(self) -> None:
        """Write every object to `listed`. Only after `sizes` were found to be bearable."""
        await self._run(
            ("cat-file", "--batch-all-objects", "--unordered", "--buffer", "--batch"),
            stdout=self.listed,
            output_limit=self._limits.all_bytes + _LISTED * self._limits.objects,
        )

    def _commit_of(self, line: bytes) -> str:
        sha = line.decode("ascii", "replace").removesuffix("\n")
        if not line.endswith(b"\n") or re.fullmatch(r"[0-9a-f]{40}", sha) is None:
            raise self._refused("its repository named no commit")
        if not sha.startswith(self._ref):
            raise policy.refusal(
                self._ref,
                f"its repository answered with another commit, {sha}",
                "",
                "give the full id (git rev-parse HEAD); a branch, a tag or a tag object of that "
                "name may stand before it",
            )
        return sha

    def _judge_header(self, head: bytes) -> None:
        """Refuse a pack for the number of objects that it claims; index-pack holds it to that."""
        if len(head) < _HEAD.size or head[:4] != b"PACK":
            raise self._refused("its repository sent no pack")
        if _HEAD.unpack(head)[2] > self._limits.objects:
            raise policy.refusal(
                self._ref,
                f"its pack has more than {self._limits.objects} objects",
                "",
                "propose a shorter history",
            )

    async def _run(
        self,
        args: tuple[str, ...],
        *,
        stdin: bytes | pathlib.Path = b"",
        stdout: pathlib.Path | None = None,
        writable: bool = False,
        output_limit: int = 64 * 1024,
    ) -> bytes:
        order = ports.OneShot(
            argv=(*_GIT, *args),
            # git stops at one allocation that is too large; the sandbox at the sum of all.
            env={**git.environment(), "GIT_ALLOC_LIMIT": str(_ALLOCATION)},
            binds=(
                ports.Bind(self._repository, INSIDE),
                ports.Bind(self._repository / "objects", f"{INSIDE}/objects", writable=writable),
            ),
            limits=_LIMITS,
            file_bytes=2 * self._limits.all_bytes,
        )
        try:
            result = await self._one_shots.run(
                order,
                stdin=stdin,
                stdout=stdout,
                output_limit=output_limit,
                timeout=self._deadline.left(self._ref),
            )
        except errors.HiveError as error:
            # Says that the time is over, in words about the import, if that is the reason.
            self._deadline.left(self._ref)
            raise errors.unavailable(f"cannot import {self._ref}: {error.message}") from error
        if result.code == 0:
            return result.stdout
        if result.code < 0 or result.code > 128:
            raise self._refused("git was ended by the limits on memory, time and size")
        said = result.stderr.strip().partition(b"\n")[0].removeprefix(b"error: ")
        raise self._refused(f"git says {escapes.visible(said, 300)}")

    def _refused(self, rule: str) -> errors.HiveError:
        return policy.refusal(self._ref, rule, "", "look at the repository with git fsck --strict")


@contextlib.asynccontextmanager
async def opened(
    run_dir: pathlib.Path,
    one_shots: ports.OneShots,
    ref: str,
    limits: policy.Limits,
    deadline: Deadline,
) -> AsyncIterator[Quarantine]:
    """Make a quarantine below *run_dir*, which holds nothing else, and remove it in the end.

    What an import of a daemon that died has left there goes first.
    """
    top = run_dir / secrets.token_hex(8)
    await asyncio.to_thread(_prepare, run_dir, top)
    try:
        yield Quarantine(top, one_shots, ref, limits, deadline)
    finally:
        # Not to be interrupted: half a removal would be left.
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, top))


def _prepare(run_dir: pathlib.Path, top: pathlib.Path) -> None:
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in run_dir.iterdir():
        shutil.rmtree(left)
    top.mkdir(mode=0o700)
    repository = top / "r.git"
    for place in ("", "refs", "objects", "objects/info", "objects/pack"):
        (repository / place).mkdir()
        (repository / place).chmod(0o755)
    # Whatever uid the sandbox has may write packs, and nothing else; nobody else gets here.
    (repository / "objects").chmod(0o777)
    (repository / "objects" / "pack").chmod(0o777)
    (repository / "HEAD").write_text("ref: refs/heads/none\n")
    (repository / "config").write_text(_CONFIG)


def _take_line(line: bytes, piece: bytes) -> tuple[bytes, bytes]:
    """Return the first line as far as it has come, and what of *piece* is not of it."""
    end = piece.find(b"\n")
    taken = len(piece) if end < 0 else end + 1
    # A line that is too long is cut: it is none, and it is not kept either.
    return (line + piece[:taken])[:64], piece[taken:]


@contextlib.contextmanager
def _created(path: pathlib.Path) -> Iterator[int]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _read_head(path: pathlib.Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_HEAD.size)
