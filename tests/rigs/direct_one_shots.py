"""A stand-in for throw-away sandboxes that runs the command on the host: for packs of our own."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence

from hyperhive import ports
from hyperhive.adapters.process import host


class DirectOneShots:
    """Keeps the contract of `ports.OneShots`, and nobody safe."""

    def __init__(self) -> None:
        self.orders: list[ports.OneShot] = []

    async def probe(self) -> list[ports.Finding]:
        return []

    async def run(
        self,
        order: ports.OneShot,
        *,
        stdin: bytes | pathlib.Path = b"",
        stdout: pathlib.Path | None = None,
        output_limit: int = 16 * 1024**2,
        timeout: float = 60.0,
        on_line: Callable[[str], None] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> ports.ProcessResult:
        self.orders.append(order)
        argv = list(order.argv)
        for bind in order.binds:
            argv = [word.replace(bind.target, str(bind.source)) for word in argv]
        result = await host.HostProcesses().run(
            argv, env=order.env, stdin=stdin, output_limit=output_limit, timeout=timeout
        )
        if stdout is None:
            return result
        stdout.write_bytes(result.stdout)
        return ports.ProcessResult(result.code, b"", result.stderr)
