"""Runs Nix in a throw-away sandbox: on a store of the hive's own, or as a client of the host's.

The hive's own store lies in ``<home>/nix/root`` and is shown as ``/nix``, so that paths, and
binary caches, are the usual ones. As root, Nix is uid 0 of a user namespace that maps to host
uids of nobody, and every derivation is built as another uid of it, which can write to nothing
but its own output. Where Nix itself lives in ``/nix/store`` (NixOS, or Nix's own installer)
the host's store is used through its daemon: then that one builds, and we are any user.

No evaluation has a network, an environment of ours, or a file but those that are bound.
"""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hyperhive import ports
from hyperhive.adapters.builder import recipes
from hyperhive.domain import errors

TIMEOUT: Final = 3600.0
LIMITS: Final = ports.Limits(memory_bytes=8 * 1024**3, cpus=2.0, processes=1024)
FILE_MAX: Final = 8 * 1024**3
LOG_MAX: Final = 64 * 1024**2
BUILD_USERS: Final = 8
_FIRST_BUILD_USER: Final = 30_001
_BUILD_GROUP: Final = 30_000
_REMEMBERED: Final = 400
PATH: Final = (
    "/usr/local/bin:/usr/bin:/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin"
)
REMEDY: Final = "install Nix (Debian, as root: apt-get install nix-bin), or set builder to layers"
NEW_UPDATE: Final = (2, 19)
"""From this version on ``nix flake update X`` updates one input, and --update-input is gone."""

_SETTINGS: Final = """\
experimental-features = nix-command flakes
pure-eval = true
allow-import-from-derivation = false
accept-flake-config = false
flake-registry =
eval-cache = false
warn-dirty = false
builders =
connect-timeout = 10
download-attempts = 2
fsync-metadata = true
"""
_UNREACHABLE: Final = re.compile(
    r"unable to download|Could not resolve host|Couldn't resolve host|Connection refused|"
    r"Connection timed out|Timeout was reached|No space left on device|Network is unreachable|"
    r"cannot connect to (daemon|socket)|unexpected end-of-file|Cannot allocate memory"
)
_STORE_NAME: Final = re.compile(r"/nix/store/[0-9a-z]{32}-source/")
_CONSEQUENCE: Final = re.compile(r"\b\d+ dependenc(y|ies)\b.* failed")
_PLACE: Final = re.compile(r"\bat /nix/store/[0-9a-z]{32}-source/(\S+?:\d+)")


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where Nix works, as it is outside and as it is shown to Nix."""

    host: bool
    """Whether the host's daemon builds."""
    home: pathlib.Path
    """Outside: what Nix remembers of us (caches, profiles, roots)."""
    home_inside: str
    store: pathlib.Path
    """Outside: what is bound to /nix/store of agents."""
    binds: tuple[ports.Bind, ...]


def find_place(directory: pathlib.Path, program: pathlib.Path) -> Place:
    """Return where the Nix that *program* is works; *directory* is ``<home>/nix``."""
    if program.resolve().is_relative_to("/nix/store"):
        own = directory / "own"
        binds = (
            ports.Bind(pathlib.Path("/nix/store"), "/nix/store"),
            ports.Bind(pathlib.Path("/nix/var/nix/daemon-socket"), "/nix/var/nix/daemon-socket"),
            ports.Bind(own, str(own), writable=True),
        )
        return Place(True, own, str(own), pathlib.Path("/nix/store"), binds)
    root = directory / "root"
    return Place(
        False, root / "var/hive", "/nix/var/hive", root / "store",
        (ports.Bind(root, "/nix", writable=True),),
    )  # fmt: skip


class NixProgram:
    """The Nix of this host, for one hive."""

    def __init__(
        self,
        one_shots: ports.OneShots,
        processes: ports.Processes,
        directory: pathlib.Path,
        *,
        env: Mapping[str, str],
        substituters: Sequence[str],
        keys: Sequence[str],
        root: bool,
        path: str = PATH,
        binds: Sequence[ports.Bind] = (),
    ) -> None:
        """*path* is where to look for Nix; *binds* are shown to it, always. Starts nothing."""
        self._one_shots = one_shots
        self._processes = processes
        self._directory = directory
        self._env = env
        self._substituters = substituters
        self._keys = keys
        self._root = root
        self._path = path
        self._binds = tuple(binds)
        self._version: tuple[int, ...] = ()

    @property
    def is_root(self) -> bool:
        """Whether derivations are built as uids of their own."""
        return self._root

    @property
    def has_caches(self) -> bool:
        """Whether a build may take things from elsewhere."""
        return bool(self._substituters)

    def place(self) -> Place:
        """Where Nix works; the directories are made. UNAVAILABLE without a Nix."""
        program = shutil.which("nix", path=self._path)
        if program is None:
            raise errors.unavailable(f"cannot find nix on this host; {REMEDY}")
        place = find_place(self._directory, pathlib.Path(program))
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not place.host:
            for name in ("", "store", "var", "var/nix"):
                path = self._directory / "root" / name
                if not path.is_dir():
                    path.mkdir(mode=0o755)
                    # mkdir minds the umask; the uids that build must pass here.
                    path.chmod(0o755)
        place.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (place.home / "roots").mkdir(exist_ok=True)
        (place.home / "profiles").mkdir(exist_ok=True)
        return place

    async def version(self) -> tuple[int, ...]:
        """Return the version of Nix, which it is asked for once."""
        if not self._version:
            said = await self._processes.run(
                ["nix", "--version"],
                # Without a home Nix asks the password database, in which not everybody is.
                env={"PATH": self._path, "HOME": "/"},
                timeout=30.0,
            )
            match = re.search(rb"\) (\d+)\.(\d+)", said.stdout)
            if match is None:
                raise errors.unavailable(f"cannot tell the version of nix; {REMEDY}")
            self._version = (int(match[1]), int(match[2]))
        return self._version

    async def run(
        self,
        script: str,
        words: Sequence[str] = (),
        *,
        binds: Sequence[ports.Bind] = (),
        network: bool = False,
        log: Callable[[str], None] | None = None,
        timeout: float = TIMEOUT,
    ) -> str:
        """Run a shell script whose arguments are *words*; what it printed.

        INVALID with Nix's own words when it says that something is wrong, UNAVAILABLE when the
        world was in the way. Cancelling ends all of it.
        """
        place = self.place()
        last: collections.deque[str] = collections.deque(maxlen=_REMEMBERED)

        def hear(line: str) -> None:
            text = recipes.plain(line)
            last.append(text)
            if log is not None:
                log(f"nix: {_STORE_NAME.sub('', text)}")

        order = ports.OneShot(
            ("/bin/sh", "-eu", "-c", script, "nix", *words),
            self._environment(place),
            binds=(*place.binds, *self._binds, *binds),
            as_root=not place.host,
            network=network,
            limits=LIMITS,
            address_space=False,
            file_bytes=FILE_MAX,
            etc=_accounts(),
        )
        result = await self._one_shots.run(
            order, timeout=timeout, output_limit=LOG_MAX, on_line=hear
        )
        if result.code == 0:
            return result.stdout.decode("utf-8", "replace")
        lines = [
            recipes.plain(line) for line in result.stderr.decode("utf-8", "replace").split("\n")
        ]
        said = reason(lines)
        if any(_UNREACHABLE.search(line) for line in lines):
            raise errors.unavailable(said)
        raise errors.invalid(said)

    def _environment(self, place: Place) -> dict[str, str]:
        settings = _SETTINGS
        if place.host:
            settings += "build-users-group =\n"
        else:
            settings += f"build-users-group = {'nixbld' if self._root else ''}\n"
            settings += (
                f"sandbox = false\nmax-jobs = 2\nsubstituters = {' '.join(self._substituters)}\n"
            )
            settings += f"trusted-public-keys = {' '.join(self._keys)}\n"
        ca = "/etc/ssl/certs/ca-certificates.crt"
        return {
            **self._env,
            "NIX_CONFIG": settings,
            "NIX_CONF_DIR": "/nonexistent",
            "NIX_REMOTE": "daemon" if place.host else "local",
            "NIX_SSL_CERT_FILE": ca,
            "SSL_CERT_FILE": ca,
            "HOME": place.home_inside,
            "PATH": self._path,
            "LC_ALL": "C.UTF-8",
            # git of an input asks nobody and goes by no way but those that were allowed.
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": "/bin/false",
        }


def reason(lines: Sequence[str]) -> str:
    """Return the one line that says best why Nix failed, with file and line where it says so."""
    words = [line.strip() for line in lines if line.strip()]
    said = [word.removeprefix("error:").strip() for word in words if word.startswith("error:")]
    # With a chain of causes Nix says "error:" alone first, and the cause last; of a chain of
    # derivations the first one failed by itself.
    text = next((each for each in reversed(said) if each and not _CONSEQUENCE.search(each)), "")
    if not text:
        text = words[-1] if words else "nix said nothing"
    text = _STORE_NAME.sub("", text)
    places = [match[1] for word in words if (match := _PLACE.search(word))]
    place = places[-1] if places else ""
    return f"{place}: {text}" if place and place not in text else text


def _accounts() -> dict[str, str]:
    """Return the accounts that derivations are built as, and what git needs."""
    users = [f"nixbld{number}" for number in range(1, BUILD_USERS + 1)]
    people = "root:x:0:0:root:/nonexistent:/bin/sh\n"
    people += "nobody:x:65534:65534::/nonexistent:/bin/false\n"
    for number, user in enumerate(users):
        uid = _FIRST_BUILD_USER + number
        people += f"{user}:x:{uid}:{_BUILD_GROUP}::/nonexistent:/bin/false\n"
    group = f"root:x:0:\nnogroup:x:65534:\nnixbld:x:{_BUILD_GROUP}:{','.join(users)}\n"
    return {"/etc/passwd": people, "/etc/group": group}
