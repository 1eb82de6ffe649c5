"""Let bubblewrap make user namespaces on hosts where AppArmor keeps them from ordinary users.

Ubuntu does so from 23.10 on: a user namespace made by a program without a profile
gets no capability (sysctl ``kernel.apparmor_restrict_unprivileged_userns``). Our
bubblewrap runs as the agent's uid, also when the daemon is root, so it needs the
profile in both cases. The profile grants nothing but ``userns``.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Final

from hyperhive import ports
from hyperhive.domain import errors

SYSCTL: Final = "proc/sys/kernel/apparmor_restrict_unprivileged_userns"
PROFILE_FILE: Final = "etc/apparmor.d/hyperhive-bwrap"
PROFILE: Final = """\
# Written by hyperhive: its sandboxes are made by bubblewrap as ordinary users.
abi <abi/4.0>,
include <tunables/global>

profile hyperhive-bwrap /usr/bin/bwrap flags=(unconfined) {
  userns,
}
"""
_TRIAL: Final = (
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
    "/usr/bin/bwrap", "--unshare-user", "--ro-bind", "/", "/", "/bin/true",
)  # fmt: skip


def restricts(root: pathlib.Path = pathlib.Path("/")) -> bool:
    """Whether this host keeps user namespaces from programs without a profile."""
    try:
        return (root / SYSCTL).read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False


async def allow_bubblewrap(
    processes: ports.Processes,
    report: Callable[[str], None],
    root: pathlib.Path = pathlib.Path("/"),
) -> None:
    """As root: load the profile where it is needed, and only there.

    `HiveError` UNAVAILABLE when AppArmor does not take it.
    """
    if not restricts(root) or (await processes.run(_TRIAL)).code == 0:
        return
    report("AppArmor keeps user namespaces from bubblewrap: installing a profile that allows them")
    file = root / PROFILE_FILE
    try:
        file.write_text(PROFILE, encoding="ascii")
    except OSError as error:
        raise errors.unavailable(f"cannot write {file}: {error.strerror}") from error
    done = await processes.run(("apparmor_parser", "--replace", str(file)))
    if done.code != 0:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise errors.unavailable(f"cannot load {file}: apparmor_parser said: {said}")
