"""Makes the pack of a proposed commit inside the sandbox of the agent who asks for it.

So no path that an agent can write is ever resolved by us, and whatever hangs, lies or runs
there has exactly the power that the agent has anyway (docs/adr/0007).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from hyperhive import ports
from hyperhive.adapters.config_repo import escapes, policy
from hyperhive.domain import agents, errors, ids

LIMITS: Final = policy.Limits()
_PIECE: Final = 1024**2


def in_sandbox(
    sandbox: ports.Sandbox,
    requester: ids.AgentId,
    identity: agents.SandboxIdentity,
    name: ids.AgentName,
    limits: policy.Limits = LIMITS,
) -> ports.Produce:
    """Return the producer that reads ``/agents/<name>/config`` in the running sandbox *identity*.

    It raises INVALID when git there does not know the commit (with git's words, escaped; they
    are the requester's own), UNAVAILABLE when the sandbox does not run, takes longer than the
    limits say or sends more.
    """
    repository = f"/agents/{name}/config"

    async def produce(commit_ref: str) -> AsyncGenerator[bytes, None]:
        ref = ids.parse_commit_ref(commit_ref)

        async def run(*args: str, stdin: bytes = b"", output_limit: int = 65536) -> bytes:
            argv = ["git", "--no-replace-objects", "--no-optional-locks", "-C", repository, *args]
            try:
                result = await sandbox.exec(
                    requester, identity, argv,
                    stdin=stdin, timeout=limits.seconds, output_limit=output_limit,
                )  # fmt: skip
            except errors.HiveError as error:
                raise errors.unavailable(
                    f"cannot import {ref}: {error.message}; a history may have "
                    f"{limits.pack_bytes} bytes and take {limits.seconds:g} s"
                ) from error
            if result.code == 0:
                return result.stdout
            said = escapes.visible(result.stderr.strip(), 300) or f"code {result.code}"
            raise errors.invalid(
                f"cannot import {ref}: git could not read it in {repository}: {said}; commit "
                "there first, and give the id that 'git rev-parse HEAD' prints"
            )

        found = await run("rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")
        sha = found[:41]
        yield sha
        pack = await run(
            "pack-objects", "--revs", "--stdout", "--delta-base-offset", "--threads=1", "-q",
            stdin=sha,
            # One piece more than may come: the importer then says what is wrong.
            output_limit=limits.pack_bytes + _PIECE,
        )  # fmt: skip
        for begin in range(0, len(pack), _PIECE):
            yield pack[begin : begin + _PIECE]

    return produce
