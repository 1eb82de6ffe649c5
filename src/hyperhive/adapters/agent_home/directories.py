"""Where the files of an agent lie, and how its sandbox is started.

Below the hive's home::

    agents/<id>/state     the agent's own, shown inside as /state
    agents/<id>/log       what the payload printed; the daemon's
    run/agents/<id>/sock  the agent's socket; the daemon's, shown inside read-only
    run/agents/<id>/box   the sandbox adapter's own files
    run/agents/<id>/gitconfig   and what else git sees: `git_view`
    run/harness/<hash>    the harness as staged for sandboxes

Directories on the way to what an agent's uid must reach are 0711: passable, not
listable. Everything the daemon keeps for itself is 0700 or 0600.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import pathlib
import shutil

from hyperhive import ports
from hyperhive.adapters.agent_home import git_view
from hyperhive.domain import agents, configuration, errors, ids
from hyperhive.wire import agent_protocol

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PACKAGE = pathlib.Path(__file__).resolve().parents[2]


class AgentHomes:
    """Makes directories and sandbox specifications; every call is idempotent."""

    def __init__(
        self,
        home: pathlib.Path,
        *,
        claude: pathlib.Path,
        limits: ports.Limits,
        uid_base: int,
    ) -> None:
        self._home = home
        self._claude = claude
        self._limits = limits
        self._uid_base = uid_base
        self._harness: pathlib.Path | None = None

    def uid(self, agent: agents.Agent) -> int:
        """The host uid of an agent's payload: its own as root, else the daemon's."""
        if os.geteuid() != 0:
            return os.geteuid()
        if agent.slot > agents.SLOTS_MAX:
            raise errors.unavailable(
                f"cannot start {agent.name}: this hive has had {agents.SLOTS_MAX} agents, and has "
                "no host uid left that was never used; go on with a new home"
            )
        return self._uid_base + agent.slot

    def socket_directory(self, agent: ids.AgentId) -> pathlib.Path:
        """Where the agent's socket lies on the host."""
        return self._home / "run" / "agents" / agent / "sock"

    def log_file(self, agent: ids.AgentId) -> pathlib.Path:
        """What the payload printed."""
        return self._home / "agents" / agent / "log" / "sandbox.log"

    async def spec(
        self,
        agent: agents.Agent,
        *,
        generation: ports.Generation | None = None,
        configured: configuration.Configuration | None = None,
    ) -> ports.SandboxSpec:
        """Make what is missing and say how to start the sandbox of *agent*.

        *generation* is the environment that was built for it, None the base alone; *configured*
        is the configuration that counts, None the host's defaults.
        """
        return await asyncio.to_thread(
            self._spec, agent, generation, configured or configuration.Configuration()
        )

    def _spec(
        self,
        agent: agents.Agent,
        generation: ports.Generation | None,
        configured: configuration.Configuration,
    ) -> ports.SandboxSpec:
        try:
            spec = self._make(agent, configured)
        except OSError as error:
            raise errors.unavailable(
                f"cannot make the directories of {agent.name}: {error}"
            ) from error
        return spec if generation is None else _equip(spec, generation)

    def _make(
        self, agent: agents.Agent, configured: configuration.Configuration
    ) -> ports.SandboxSpec:
        uid = self.uid(agent)
        own = self._home / "agents" / agent.id
        run = self._home / "run" / "agents" / agent.id
        for directory in (self._home / "agents", own, self._home / "run", run.parent, run):
            _directory(directory, 0o711)
        _directory(own / "log", 0o700)
        _directory(run / "box", 0o711)
        sockets = self.socket_directory(agent.id)
        _directory(sockets, 0o750)
        state = own / "state"
        _directory(state, 0o700)
        if os.geteuid() == 0:
            # The parents are the daemon's alone, so no agent can swap these for links.
            os.chown(state, uid, uid, follow_symlinks=False)
            os.chown(sockets, 0, uid, follow_symlinks=False)
        harness = self._stage()
        entry = f"{agent_protocol.HARNESS_IN_SANDBOX}/hyperhive/harness/__main__.py"
        return ports.SandboxSpec(
            agent=agent.id,
            name=agent.name,
            uid=uid,
            argv=("/usr/bin/python3", "-I", "-S", entry),
            env={
                "LANG": "C.UTF-8",
                # Which names it may have is checked when a configuration is read.
                **configured.environment,
                "HOME": agent_protocol.STATE_IN_SANDBOX,
                "PATH": _PATH,
                "USER": agent.name,
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            cwd=agent_protocol.STATE_IN_SANDBOX,
            binds=(
                ports.Bind(state, agent_protocol.STATE_IN_SANDBOX, writable=True),
                ports.Bind(sockets, str(pathlib.PurePosixPath(
                    agent_protocol.SOCKET_IN_SANDBOX).parent)),
                ports.Bind(self._claude, agent_protocol.CLAUDE_IN_SANDBOX),
                ports.Bind(harness, agent_protocol.HARNESS_IN_SANDBOX),
                *git_view.binds(self._home, run, agent),
            ),
            limits=_limits(self._limits, configured.limits),
            log=self.log_file(agent.id),
            run_dir=run / "box",
            ports=(agent_protocol.GATEWAY_PORT, agent_protocol.EGRESS_PORT),
        )  # fmt: skip

    def _stage(self) -> pathlib.Path:
        """Copy the harness to a directory named after its content, once."""
        if self._harness is not None and self._harness.exists():
            return self._harness
        files = [
            "__init__.py",
            "wire/__init__.py",
            "wire/agent_protocol.py",
            *sorted(f"harness/{path.name}" for path in (_PACKAGE / "harness").glob("*.py")),
        ]
        contents = {name: (_PACKAGE / name).read_bytes() for name in files}
        digest = hashlib.sha256()
        for name, content in contents.items():
            digest.update(f"{name} {len(content)}\n".encode() + content)
        root = self._home / "run" / "harness"
        _directory(root, 0o711)
        target = root / digest.hexdigest()[:16]
        if not target.exists():
            fresh = root / f".{target.name}.{os.getpid()}"
            shutil.rmtree(fresh, ignore_errors=True)
            for name, content in contents.items():
                path = fresh / "hyperhive" / name
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                path.write_bytes(content)
                path.chmod(0o644)
            for directory in (fresh, fresh / "hyperhive", *(fresh / "hyperhive").glob("*/")):
                directory.chmod(0o755)
            fresh.rename(target)
        self._harness = target
        return target


def _limits(of_host: ports.Limits, configured: configuration.Limits) -> ports.Limits:
    given = {
        name: value for name, value in dataclasses.asdict(configured).items() if value is not None
    }
    return dataclasses.replace(of_host, **given)


def _equip(spec: ports.SandboxSpec, generation: ports.Generation) -> ports.SandboxSpec:
    """Put what was built for the agent under and into its sandbox."""
    path = ":".join([*generation.path, spec.env["PATH"]])
    return dataclasses.replace(
        spec,
        env={**spec.env, "PATH": path},
        binds=(*spec.binds, *generation.binds),
        lowers=generation.lowers,
    )


def _directory(path: pathlib.Path, mode: int) -> None:
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o7777 != mode:
        path.chmod(mode)
