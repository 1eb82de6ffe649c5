"""Get the pinned claude program from a Python or Node package and keep it in the cache.

Rule: what stands at `locate` is whole and checked. It is made in a directory beside its
place, its digest compared, written to the disk and then renamed, so that neither a kill nor
a power cut nor a second start leaves half of it. All sandboxes share that one inode, so that
its 380 MB are in memory once.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import pathlib
import platform
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Final

from hyperhive import ports
from hyperhive.domain import errors

VERSION: Final = "2.1.330"
WHEEL: Final = "claude-agent-sdk==0.2.187"
"""The Python package whose wheel carries exactly that version."""
WHEEL_MEMBER: Final = "claude_agent_sdk/_bundled/claude"
NODE_PACKAGES: Final = {
    "x86_64": f"@anthropic-ai/claude-code-linux-x64@{VERSION}",
    "aarch64": f"@anthropic-ai/claude-code-linux-arm64@{VERSION}",
}
NODE_MEMBER: Final = "package/claude"
SHA256: Final = {
    "x86_64": "f390eaa0814e6a1bff74cbb47acb74cb9c89d30ced809fe0af5af00c7bfe8ebb",
}
"""By machine. One that is missing here is accepted for what ``--version`` says."""

_PASSED: Final = ("HOME", "PATH", "LANG", "NODE_EXTRA_CA_CERTS")
_PASSED_PREFIXES: Final = ("PIP_", "NPM_CONFIG_", "SSL_CERT_", "REQUESTS_", "XDG_", "UV_")
_DOWNLOAD_SECONDS: Final = 1800.0
_CHUNK: Final = 1024 * 1024

Progress = Callable[[str], None]


def locate(cache: pathlib.Path) -> pathlib.Path:
    """Where the pinned program stands in *cache*, or will stand."""
    return cache / "claude" / VERSION / "claude"


async def ensure(
    processes: ports.Processes,
    cache: pathlib.Path,
    progress: Progress,
    *,
    env: Mapping[str, str],
    machine: str = "",
) -> pathlib.Path:
    """Return the program's path, getting it first where it is missing.

    No network is touched when it is there. *env* is the operator's environment: proxy,
    package index and certificates are taken from it. `HiveError` UNAVAILABLE says why
    neither pip nor npm could bring it.
    """
    place = locate(cache)
    if place.is_file():
        return place
    machine = machine or platform.machine()
    if machine not in NODE_PACKAGES:
        known = ", ".join(NODE_PACKAGES)
        raise errors.unavailable(
            f"cannot get the claude program: there is none for {machine}, only for {known}"
        )
    try:
        # Whatever the umask: agents run as other users and execute what lies here.
        for directory in (cache, cache / "claude", place.parent):
            if not directory.exists():
                directory.mkdir(parents=True)
                directory.chmod(0o755)
        with (cache / "claude" / ".lock").open("w") as lock:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            if place.is_file():
                return place
            # Nobody else is here: what lies around was left by a start that was killed.
            for left in (cache / "claude").glob(".incoming-*"):
                shutil.rmtree(left, ignore_errors=True)
            incoming = cache / "claude" / f".incoming-{os.getpid()}"
            incoming.mkdir()
            try:
                await _Delivery(processes, incoming, progress, env, machine).bring(place)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
    except OSError as error:
        raise errors.unavailable(
            f"cannot keep the claude program in {place.parent}: {error.strerror or error}; "
            "it needs 600 MB of free space while it is unpacked"
        ) from error
    return place


async def inspect(processes: ports.Processes, cache: pathlib.Path) -> ports.Finding:
    """Say whether the pinned program is there and starts."""
    place = locate(cache)
    remedy = f"remove {place.parent}; hive up or hive prepare gets it again"
    if not place.is_file():
        return ports.Finding(
            "claude", ports.Severity.NOTICE, f"{VERSION} is not there yet", "hive prepare gets it"
        )
    try:
        said = await _ask_version(processes, place, pathlib.Path("/nonexistent"))
    except errors.HiveError as error:
        return ports.Finding("claude", ports.Severity.BROKEN, error.message, remedy)
    if not said.startswith(VERSION + " "):
        return ports.Finding("claude", ports.Severity.BROKEN, f"{place} says {said[:80]!r}", remedy)
    return ports.Finding("claude", ports.Severity.OK, f"{VERSION} at {place}")


async def _ask_version(
    processes: ports.Processes, program: pathlib.Path, home: pathlib.Path
) -> str:
    result = await processes.run(
        [str(program), "--version"],
        env={"HOME": str(home), "DISABLE_AUTOUPDATER": "1"},
        timeout=60.0,
    )
    return result.stdout.decode("utf-8", "replace").strip()


class _NotBrought(Exception):
    """One of the two ways did not work; says why."""


class _Delivery:
    """One attempt to bring the program, in a directory of its own."""

    def __init__(
        self,
        processes: ports.Processes,
        incoming: pathlib.Path,
        progress: Progress,
        env: Mapping[str, str],
        machine: str,
    ) -> None:
        self._processes = processes
        self._incoming = incoming
        self._progress = progress
        self._machine = machine
        self._env = {
            name: value
            for name, value in env.items()
            if name in _PASSED
            or name.upper().startswith(_PASSED_PREFIXES)
            or name.lower().endswith("_proxy")
        }
        # The system's /tmp may be a small one in memory.
        self._env["TMPDIR"] = str(incoming)

    async def bring(self, place: pathlib.Path) -> None:
        self._progress(f"claude {VERSION}: downloading (170 MB, once)")
        failures: list[str] = []
        for bring in (self._from_wheel, self._from_node_package):
            try:
                fresh = await bring()
                await self._check(fresh)
            except (_NotBrought, errors.HiveError) as error:
                failures.append(str(error))
                continue
            fresh.replace(place)
            _sync_directory(place.parent)
            self._progress(f"claude {VERSION}: ready")
            return
        raise errors.unavailable(
            f"cannot get the claude program {VERSION}: {'; '.join(failures)}; is this machine "
            f"offline? Copy {place} from another hive's cache, or start again with a network"
        )

    async def _from_wheel(self) -> pathlib.Path:
        await self._download(
            "pip",
            [
                sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
                "--no-cache-dir", "--disable-pip-version-check", "--no-input",
                "--progress-bar", "off", "--dest", str(self._incoming), WHEEL,
            ],
        )  # fmt: skip
        return await asyncio.to_thread(self._unpack, "*.whl", _open_in_wheel)

    async def _from_node_package(self) -> pathlib.Path:
        if shutil.which("npm", path=self._env.get("PATH")) is None:
            raise _NotBrought("npm is not installed")
        await self._download(
            "npm",
            [
                "npm", "pack", "--silent", "--pack-destination", str(self._incoming),
                NODE_PACKAGES[self._machine],
            ],
        )  # fmt: skip
        return await asyncio.to_thread(self._unpack, "*.tgz", _open_in_tarball)

    async def _download(self, program: str, argv: list[str]) -> None:
        # Kept aside: an exception that leaves a group would be wrapped by it.
        result: ports.ProcessResult | errors.HiveError
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(self._tick())
            try:
                result = await self._processes.run(
                    argv, env=self._env, cwd=self._incoming, timeout=_DOWNLOAD_SECONDS
                )
            except errors.HiveError as error:
                result = error
            finally:
                ticking.cancel()
        if isinstance(result, errors.HiveError):
            raise _NotBrought(result.message)
        if result.code != 0:
            said = (result.stderr or result.stdout).decode("utf-8", "replace").strip()
            last = said.splitlines()[-1] if said else f"exit code {result.code}"
            raise _NotBrought(f"{program} said: {last}")

    async def _tick(self) -> None:
        """Say now and then how much has come; the programs themselves are silent without a tty."""
        said = 0
        while True:
            await asyncio.sleep(3.0)
            megabytes = await asyncio.to_thread(_largest_file, self._incoming) // 1_000_000
            if megabytes > said:
                self._progress(f"claude {VERSION}: {megabytes} MB of about 170 MB")
                said = megabytes

    def _unpack(
        self,
        pattern: str,
        open_member: Callable[[pathlib.Path], contextlib.AbstractContextManager[IO[bytes]]],
    ) -> pathlib.Path:
        packages = list(self._incoming.glob(pattern))
        if len(packages) != 1:
            raise _NotBrought(f"no package {pattern} came")
        self._progress(f"claude {VERSION}: unpacking and checking")
        fresh = self._incoming / "claude"
        digest = hashlib.sha256()
        try:
            with open_member(packages[0]) as source, fresh.open("wb") as target:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
                target.flush()
                os.fchmod(target.fileno(), 0o755)
                os.fsync(target.fileno())
        except (KeyError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
            raise _NotBrought(f"{packages[0].name} is damaged: {error}") from error
        expected = SHA256.get(self._machine)
        if expected is not None and digest.hexdigest() != expected:
            raise _NotBrought(
                f"the program in {packages[0].name} has SHA-256 {digest.hexdigest()} "
                f"and must have {expected}"
            )
        return fresh

    async def _check(self, fresh: pathlib.Path) -> None:
        if self._machine in SHA256:
            return
        said = await _ask_version(self._processes, fresh, self._incoming)
        if not said.startswith(VERSION + " "):
            raise _NotBrought(f"the program that came says {said[:80]!r} and must say {VERSION}")
        self._progress(
            f"claude {VERSION}: no digest is known for {self._machine}; "
            "accepted for the version that it says"
        )


@contextlib.contextmanager
def _open_in_wheel(package: pathlib.Path) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(package) as wheel, wheel.open(WHEEL_MEMBER) as member:
        yield member


@contextlib.contextmanager
def _open_in_tarball(package: pathlib.Path) -> Iterator[IO[bytes]]:
    with tarfile.open(package) as tarball:
        member = tarball.extractfile(NODE_MEMBER)
        if member is None:
            raise KeyError(f"{NODE_MEMBER} is no file")
        with member:
            yield member


def _largest_file(directory: pathlib.Path) -> int:
    # The largest file: what is being downloaded. A sum would count it twice while it is moved.
    largest = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):
            largest = max(largest, path.stat().st_size)
    return largest


def _sync_directory(directory: pathlib.Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
