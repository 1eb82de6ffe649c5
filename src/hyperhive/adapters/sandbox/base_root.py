"""The root file system of the agents, built once from the packages of the host's own distribution.

mmdebstrap(1) builds it beside its place, a rename puts it there: what is under
its final name is whole. The name is a hash of all that went in, so a new recipe is a
new root, and one cache serves several hives. Suite and sources come from the host.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pathlib
import platform
import pwd
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from hyperhive import ports
from hyperhive.adapters.sandbox import views
from hyperhive.domain import errors

PACKAGES: Final = (
    "git", "python3", "nodejs", "ripgrep", "jq", "curl", "ca-certificates", "build-essential",
    "less", "procps",
)  # fmt: skip
INSTALL: Final = "apt-get install mmdebstrap"
PLACES: Final = ("hosts", "hostname", "resolv.conf", "gitconfig")
"""Empty files in /etc, to bind over: nobody can make a place on a read-only root later."""
RECIPE: Final = 1
"""Grows when the way of building changes, so that a new root is built."""
_TIED: Final = ("setpriv", "--pdeathsig", "KILL", "--")
"""Dies with us, also when we are killed and can end nothing (prctl(2), PR_SET_PDEATHSIG)."""
_APART: Final = ("unshare", "--mount", "--mount-proc", "--pid", "--fork", "--kill-child", "--")
"""As root mmdebstrap mounts below the new root: a killed build must not leave that to the host."""
_REMOVE_ROUNDS: Final = 5
BUILD_TIMEOUT: Final = 3600.0
_STEPS: Final = (
    "running apt-get", "downloading", "extracting", "installing", "cleaning", "creating",
)  # fmt: skip
"""What of mmdebstrap's messages tells an operator how far it is."""
_DISTRIBUTIONS: Final = ("debian", "ubuntu")


class BaseRoot:
    """One base root in the cache: where it is, whether it is there, how it is made."""

    def __init__(
        self,
        processes: ports.Processes,
        clock: ports.Clock,
        cache: pathlib.Path,
        build_env: Mapping[str, str],
        etc: pathlib.Path = pathlib.Path("/etc"),
    ) -> None:
        self._processes = processes
        self._clock = clock
        self._env = build_env
        self._etc = etc
        self._release = _read_release(etc / "os-release")
        parts = (*PACKAGES, self.suite, platform.machine(), str(RECIPE))
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        self.path = cache / "base" / key

    @property
    def suite(self) -> str:
        """The host's release, as in ``bookworm``; empty when it has none."""
        return self._release.get("VERSION_CODENAME", "")

    def is_built(self) -> bool:
        """Whether it is there; then it is whole."""
        return self.path.is_dir()

    def complete(self) -> None:
        """Add places that a root of an older version lacks, where we may. No new root is needed
        for an empty file, and only a sandbox without an overlay needs it."""
        for name in PLACES:
            place = self.path / "etc" / name
            if not place.exists() and os.access(place.parent, os.W_OK):
                place.touch(mode=0o644)

    def obstacle(self) -> str:
        """Why it cannot be built here, and what to do; empty when it can be tried."""
        if self._release.get("ID") not in _DISTRIBUTIONS or not self.suite:
            name = self._release.get("PRETTY_NAME", "this system")
            return f"{name} is not Debian or Ubuntu, and only their packages can be used"
        if shutil.which("mmdebstrap") is None:
            return f"mmdebstrap is not installed; as root run: {INSTALL}"
        if os.geteuid() != 0 and shutil.which("newuidmap") is None:
            return "without root the build needs newuidmap; as root run: apt-get install uidmap"
        if os.geteuid() != 0 and not _has_subordinate_ids(self._etc):
            return (
                "without root the build needs subordinate ids; as root run: usermod "
                f"--add-subuids 200000-265535 --add-subgids 200000-265535 {_user_name()}"
            )
        return ""

    async def build(self, progress: Callable[[str], None]) -> None:
        """Build it, with a line of progress per step.

        `HiveError` UNAVAILABLE says why not; then nothing half-made is left.
        """
        obstacle = self.obstacle()
        if obstacle:
            raise errors.unavailable(f"cannot build the base root: {obstacle}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".tmp")
        with await self._alone(progress):
            if self.is_built():
                return
            progress(f"building the base root ({self.suite}; takes a minute or two, once)")
            begin = self._clock.monotonic()
            await self._remove(new)
            try:
                if os.geteuid() == 0:
                    await self._bootstrap(new, "root", progress)
                else:
                    await self._bootstrap_unprivileged(new, progress)
            except BaseException:
                await self._remove(new)
                raise
            new.chmod(0o755)
            new.rename(self.path)
            progress(f"base root ready after {self._clock.monotonic() - begin:.0f} s: {self.path}")

    async def _bootstrap(
        self, target: pathlib.Path, mode: str, progress: Callable[[str], None]
    ) -> None:
        sources = self.path.with_suffix(_sources_suffix(self._etc))
        sources.write_text(self._sources(), encoding="utf-8")
        try:
            result = await self._processes.run(
                [
                    *_TIED, *(_APART if mode == "root" else ()),
                    "mmdebstrap", f"--mode={mode}", "--variant=minbase",
                    f"--include={','.join(PACKAGES)}",
                    *(f"--aptopt={option}" for option in await self._apt_options()),
                    "--dpkgopt=path-exclude=/usr/share/man/*",
                    "--dpkgopt=path-exclude=/usr/share/locale/*",
                    "--dpkgopt=path-exclude=/usr/share/doc/*",
                    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
                    f"--customize-hook={_finish()}",
                    self.suite, str(target), str(sources),
                ],
                env=self._env,
                timeout=BUILD_TIMEOUT,
                on_line=lambda line: _tell(line, progress),
            )  # fmt: skip
        finally:
            sources.unlink()
        if result.code != 0:
            said = [line for line in result.stderr.decode("utf-8", "replace").splitlines() if line]
            raise errors.unavailable(
                f"cannot build the base root: {' / '.join(said[-4:]) or 'mmdebstrap failed'}; "
                "look whether 'apt-get update' works on this host"
            )

    async def _bootstrap_unprivileged(
        self, new: pathlib.Path, progress: Callable[[str], None]
    ) -> None:
        """Build an archive in a user namespace and unpack it as ourselves.

        A tree made in the namespace would belong to subordinate uids, which we could
        neither read everywhere nor remove.
        """
        archive = self.path.with_suffix(".tar")
        try:
            await self._bootstrap(archive, "unshare", progress)
            progress("unpacking")
            await self._processes.run(["mkdir", str(new)])
            result = await self._processes.run(
                ["tar", "-xf", str(archive), "-C", str(new), "--no-same-owner",
                 "--no-same-permissions", "--exclude=./dev/*"],
                timeout=BUILD_TIMEOUT,
            )  # fmt: skip
            if result.code != 0:
                said = result.stderr.decode("utf-8", "replace").strip()
                raise errors.unavailable(f"cannot unpack the base root: {said[-400:]}")
        finally:
            archive.unlink(missing_ok=True)

    async def _apt_options(self) -> list[str]:
        """Return the proxy of the host's apt: mmdebstrap does not read the host's configuration."""
        result = await self._processes.run(
            ["apt-config", "dump", "Acquire::http::Proxy", "Acquire::https::Proxy"]
        )
        lines = result.stdout.decode("utf-8", "replace").splitlines() if result.code == 0 else []
        return [line.strip().rstrip(";") for line in lines if '""' not in line]

    def _sources(self) -> str:
        """Return the host's own sources of its own release; third-party archives stay out."""
        directory = self._etc / "apt/sources.list.d"
        found: list[str] = []
        for name in _DISTRIBUTIONS:
            with contextlib.suppress(FileNotFoundError):
                text = (directory / f"{name}.sources").read_text(encoding="utf-8")
                found += [part for part in text.split("\n\n") if self._is_ours(part)]
        if found:
            return "\n\n".join(found) + "\n"
        with contextlib.suppress(FileNotFoundError):
            lines = (self._etc / "apt/sources.list").read_text(encoding="utf-8").splitlines()
            found = [line for line in lines if line.startswith("deb ") and self._is_ours(line)]
        if not found:
            raise errors.unavailable(
                f"cannot build the base root: no sources of {self.suite} in {self._etc}/apt"
            )
        return "\n".join(found) + "\n"

    def _is_ours(self, text: str) -> bool:
        return self.suite in text and "main" in text.split()

    async def _alone(
        self, progress: Callable[[str], None]
    ) -> contextlib.AbstractContextManager[None]:
        """Wait until no other hive builds this root, and keep others from it."""
        lock = os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    progress("another hive builds this base root; waiting for it")
                told = True
                await self._clock.sleep(1.0)
            else:
                return _closing(lock)

    async def _remove(self, path: pathlib.Path) -> None:
        """Remove what an interrupted build left, without following it into other mounts.

        `HiveError` UNAVAILABLE when something keeps it there.
        """
        said = ""
        for _ in range(_REMOVE_ROUNDS):
            result = await self._processes.run(
                ["rm", "-rf", "--one-file-system", str(path)], timeout=BUILD_TIMEOUT
            )
            if result.code == 0:
                return
            said = result.stderr.decode("utf-8", "replace").strip()
            # The last processes of a killed build may still be writing.
            await self._clock.sleep(0.2)
        raise errors.unavailable(
            f"cannot remove {path}, left by an interrupted build: {said[-200:]}; "
            "remove it by hand (it may hold mounts: see /proc/mounts)"
        )


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(fd)


def _finish() -> str:
    """Return the shell line that makes mount points and empty files to bind over."""
    points = " ".join(f'"$1"{point}' for point in views.MOUNT_POINTS)
    files = " ".join(f'"$1"/etc/{name}' for name in PLACES)
    return (
        f"mkdir -p {points} && rm -f {files} && touch {files} && "
        # No agent is root, so a file that raises its rights has no use in there.
        'find "$1" -xdev -type f -perm /6000 -exec chmod a-s {} +'
    )


def _tell(line: str, progress: Callable[[str], None]) -> None:
    if line.startswith(tuple(f"I: {step}" for step in _STEPS)):
        progress(line.removeprefix("I: ").rstrip("."))
    elif line.startswith(("Setting up ", "Unpacking ")):
        progress(" ".join(line.split()[:3]).rstrip("."))


def _sources_suffix(etc: pathlib.Path) -> str:
    deb822 = any((etc / f"apt/sources.list.d/{name}.sources").exists() for name in _DISTRIBUTIONS)
    return ".sources" if deb822 else ".list"


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _has_subordinate_ids(etc: pathlib.Path) -> bool:
    """Whether subuid(5) and subgid(5) give us any."""
    owners = (_user_name(), str(os.geteuid()))
    for name in ("subuid", "subgid"):
        try:
            lines = (etc / name).read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        if not any(line.split(":")[0] in owners for line in lines):
            return False
    return True


def _read_release(path: pathlib.Path) -> dict[str, str]:
    """Read os-release(5)."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {key.strip(): "".join(shlex.split(value)) for key, value in pairs}
