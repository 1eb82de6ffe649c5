"""Hands the token to one git process, so that nobody else can read it.

It lies in a memfd: not in an argument, not in the environment, not on a disk. git asks a helper
that belongs to the forge's own origin, so a redirect to another host gets nothing
(gitcredentials(7), memfd_create(2)). A memfd and not a pipe, because git may ask twice.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

USER: Final = "hyperhive"
"""Forges take any user name beside a token."""


@contextlib.contextmanager
def held(token: str) -> Iterator[int]:
    """Yield a file descriptor that a child can read the credential from as ``/dev/fd/N``."""
    descriptor = os.memfd_create("credential", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, f"username={USER}\npassword={token}\n".encode())
        yield descriptor
    finally:
        os.close(descriptor)


def configuration(origin: str, descriptor: int) -> list[tuple[str, str]]:
    """The git configuration that asks nobody but *descriptor*, and only for *origin*."""
    helper = f'!f() {{ test "$1" = get && cat /dev/fd/{descriptor}; }}; f'
    return [
        # An empty one forgets all that a file may have named.
        ("credential.helper", ""),
        (f"credential.{origin}.helper", helper),
        ("credential.interactive", "false"),
        ("core.askPass", ""),
    ]
