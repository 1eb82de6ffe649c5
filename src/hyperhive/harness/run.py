"""The thin runner: carries the machine's commands out and brings it events.

Rule: nothing is decided here. Each command is a method of `Runner` by the name
of its verb, and each event is one call of the machine.
"""

from __future__ import annotations

import os
import signal
from typing import Any, Dict, List, Optional, Set, Tuple

from hyperhive.harness import claude, client, events, extras, live, lock, process, reactor, turn
from hyperhive.wire import agent_protocol as protocol

OPTIONS = {
    "socket": protocol.SOCKET_IN_SANDBOX,
    "state": protocol.STATE_IN_SANDBOX,
    "claude": protocol.CLAUDE_IN_SANDBOX,
    "gateway": str(protocol.GATEWAY_PORT),
    "egress": str(protocol.EGRESS_PORT),
    "private": "/tmp",  # noqa: S108 - the sandbox's own
    "allow-root": "",
}
"""Each also as ``HIVE_HARNESS_<NAME>`` in the environment; for tests and odd sandboxes."""


class Runner:
    """One harness: from `start` until the machine leaves."""

    def __init__(self, options: Dict[str, str], outer: Dict[str, str]) -> None:
        self.boot = os.urandom(16).hex()
        self._options = options
        self._outer = outer
        state = options["state"]
        own = os.path.join(state, ".hive")
        os.makedirs(own, mode=0o700, exist_ok=True)
        os.chmod(own, 0o700)
        self._lock = lock.StateLock(own)
        private = os.path.join(options["private"], f"hive-{self.boot[:12]}")
        self._paths = claude.Paths(options["claude"], state, private)
        claude.make_directories(self._paths)
        self.loop = reactor.Reactor()
        self._machine = turn.Machine()
        self._client = client.Client(self.loop, options["socket"], self.boot, self._note)
        self._outbox = events.Outbox(os.path.join(own, "events.jsonl"))
        self._sending = False
        self._process: Optional[process.Claude] = None
        self._timers: Dict[str, reactor.Timer] = {}
        self._state_call: Optional[client.Call] = None
        self._orders_call: Optional[client.Call] = None
        self._mcp_calls: Set[client.Call] = set()
        self._turn = ""
        self._hidden: List[Tuple[str, str]] = []
        self.code = 0

    def start(self) -> int:
        """Serve until told to stop; returns the exit code."""
        process.adopt_orphans()
        self.loop.on_signal(signal.SIGTERM, self._stop_asked)
        self.loop.on_signal(signal.SIGINT, self._stop_asked)
        self.loop.on_signal(signal.SIGCHLD, self._child_ended)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        if self._lock.end_leftover():
            self._note("a claude process of an earlier harness was still running; it was ended")
        self._client.start()
        self.take()
        try:
            self.loop.run()
        except client.Fatal as error:
            log(str(error))
            self.code = 3
        if self._process is not None:
            self._process.kill()
        self._client.close()
        self._lock.close()
        return self.code

    # --- commands -----------------------------------------------------------------------

    def take(self) -> None:
        """Ask for work."""
        params = {"boot": self.boot, "kinds": turn.KINDS}
        self._client.call("take", params, self._planned, self._not_planned)

    def launch(self, plan: Dict[str, Any], resume: bool) -> None:
        """Start the program; that it cannot start is reported as its end."""
        try:
            claude.write_files(plan, self._paths)
            self._start_program(plan, resume)
        except OSError as error:
            reason = f"cannot start claude: {error}"
            self.loop.call_later(0.0, lambda: self._do(self._machine.exited(126, reason)))

    def _start_program(self, plan: Dict[str, Any], resume: bool) -> None:
        env = claude.environment(
            plan,
            self._paths,
            self._outer,
            int(self._options["gateway"]),
            int(self._options["egress"]),
        )
        self._process = process.Claude(
            self.loop,
            claude.arguments(plan, self._paths, resume),
            env,
            self._paths.state,
            self._line,
            lambda text: self.emit(*live.note(text, stderr=True)),
        )
        self._lock.note(self._process.pid)

    def write(self, message: Dict[str, Any]) -> None:
        """Say a line to the program."""
        if self._process is not None:
            self._process.write(message)

    def close_input(self) -> None:
        """Let the program leave."""
        if self._process is not None:
            self._process.close_input()

    def kill(self) -> None:
        """End the program now; its exit follows."""
        if self._process is not None:
            self._process.kill()

    def set_timer(self, name: str, seconds: float) -> None:
        """Ring *name* after *seconds*, in place of an earlier one of that name."""
        self.cancel_timer(name)
        self._timers[name] = self.loop.call_later(
            seconds, lambda: self._do(self._machine.rang(name))
        )

    def cancel_timer(self, name: str) -> None:
        """Let it not ring."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def report(self, state: str, note: str) -> None:
        """Say what the harness is doing; only the newest matters."""
        self._client.forget(self._state_call)
        params = {"state": state, "note": extras.hide(note, self._hidden)[:500]}
        self._state_call = self._client.call("state", params, _ignore, _ignore_refusal, retry=False)

    def tell_session(self, turn_id: str, session: str) -> None:
        """Say that the session exists on disk."""
        params = {"turn": turn_id, "session": session}
        self._client.call("session", params, _ignore, _ignore_refusal)

    def report_servers(self, turn_id: str, servers: List[Dict[str, str]]) -> None:
        """Say how the extra MCP servers stand. An older daemon refuses; then nobody is told."""
        params = {"turn": turn_id, "servers": servers}
        self._client.call("servers", params, _ignore, _ignore_refusal)

    def watch_orders(self, turn_id: str) -> None:
        """Listen for an order of the operator while this turn runs."""

        def answered(result: Dict[str, Any]) -> None:
            self._do(self._machine.ordered(str(result.get("order"))))

        self._orders_call = self._client.call(
            "orders", {"turn": turn_id}, answered, _ignore_refusal
        )

    def unwatch_orders(self) -> None:
        """Stop listening."""
        self._client.forget(self._orders_call)

    def call_mcp(self, turn_id: str, request: str, message: Dict[str, Any]) -> None:
        """Carry one MCP request to the daemon and its answer back."""
        asked_by = self._process

        def give(answer: Dict[str, Any]) -> None:
            if self._process is asked_by:
                self._do(self._machine.answered(request, answer))

        def answered(result: Dict[str, Any]) -> None:
            self._mcp_calls.discard(call)
            answer = result.get("message") or _failure(message, "the hive gave no answer")
            give(_mark_away(answer, call.away))

        def refused(kind: str, reason: str) -> None:
            self._mcp_calls.discard(call)
            give(_failure(message, f"{kind}: {reason}"))

        params = {"turn": turn_id, "key": f"{self.boot}:{turn_id}:{request}", "message": message}
        try:
            call = self._client.call("mcp", params, answered, refused, retry=False)
        except protocol.ProtocolError as error:
            give(_failure(message, f"cannot call the tool: {error}; say less"))
            return
        self._mcp_calls.add(call)

    def notify(self, turn_id: str, request: str, message: Dict[str, Any]) -> None:
        """Pass an MCP notification on; nobody waits for it."""
        params = {"turn": turn_id, "key": f"{self.boot}:{turn_id}:{request}", "message": message}
        self._client.call("mcp", params, _ignore, _ignore_refusal, retry=False)

    def emit(self, kind: str, data: Dict[str, Any]) -> None:
        """Put a record into the operator's terminal."""
        self._outbox.add(self._turn, kind, extras.hide(data, self._hidden))
        self._send_events()

    def finish(self, params: Dict[str, Any]) -> None:
        """Say how the turn ended; the next step follows the answer."""
        params = dict(params, note=extras.hide(params["note"], self._hidden))
        log(f"turn {params['turn']}: {params['outcome']} {params['note'][:200]}".rstrip())
        # A report that is still on its way must not come after the end.
        self._client.forget(self._state_call)
        short = dict(params, note=params["note"][:2000])
        self._client.call("finish", short, lambda _: self._finished(), self._not_finished)

    def leave(self, code: int) -> None:
        """End the harness."""
        self.code = code
        self.loop.stop()

    # --- events -------------------------------------------------------------------------

    def _do(self, does: List[turn.Do]) -> None:
        for do in does:
            getattr(self, do.verb)(*do.args)

    def _planned(self, plan: Dict[str, Any]) -> None:
        self._turn = str(plan.get("turn"))
        self._hidden = extras.hidden(plan)
        log(f"turn {self._turn}: {len(plan.get('messages') or [])} messages")
        self._do(self._machine.planned(plan))

    def _not_planned(self, kind: str, reason: str) -> None:
        log(f"no work: {kind}: {reason}")
        self.loop.call_later(client.PAUSES[-1], self.take)

    def _finished(self) -> None:
        resident = self._process.resident() if self._process is not None else 0
        self._do(self._machine.finished(resident))
        self._turn = ""

    def _not_finished(self, kind: str, reason: str) -> None:
        # The daemon has settled the turn otherwise; there is nothing left to say about it.
        self._note(f"the hive did not take the end of the turn: {kind}: {reason}")
        self._finished()

    def _line(self, event: Dict[str, Any]) -> None:
        self._do(self._machine.line(event))

    def _stop_asked(self) -> None:
        self._do(self._machine.stop())

    def _child_ended(self) -> None:
        for pid, code in process.reap():
            program = self._process
            if program is None or pid != program.pid:
                continue
            stderr = program.drain()
            if code < 0:
                program.sweep()
            for call in self._mcp_calls:
                self._client.forget(call)
            self._mcp_calls.clear()
            self._process = None
            self._lock.note(0)
            self._do(self._machine.exited(code, stderr))

    def _send_events(self) -> None:
        if self._sending:
            return
        batch = self._outbox.batch()
        if batch is None:
            return
        self._sending = True
        params = {"boot": self.boot, "first": batch[0], "events": batch[1]}
        self._client.call("events", params, lambda _: self._sent(), lambda *_: self._sent())

    def _sent(self) -> None:
        self._sending = False
        self._send_events()

    def _note(self, text: str) -> None:
        log(text)
        self.emit(*live.note(text))


def main(argv: List[str], environ: Dict[str, str]) -> int:
    """Run a harness; returns the exit code."""
    try:
        options = parse(argv, environ)
        if os.geteuid() == 0 and not options["allow-root"]:
            log("cannot start as root: an agent runs as its own user; see the sandbox's uid")
            return 2
        return Runner(options, environ).start()
    except (OSError, ValueError, lock.Held) as error:
        log(str(error))
        return 2


def parse(argv: List[str], environ: Dict[str, str]) -> Dict[str, str]:
    """Return the options; ValueError names what is not known."""
    options = dict(OPTIONS)
    for name in OPTIONS:
        value = environ.get("HIVE_HARNESS_" + name.upper().replace("-", "_"))
        if value:
            options[name] = value
    for word in argv:
        name, _, value = word.partition("=")
        if not name.startswith("--") or name[2:] not in OPTIONS or not value:
            known = " ".join(f"--{option}=…" for option in OPTIONS)
            raise ValueError(f"cannot use {word!r}: the options are {known}")
        options[name[2:]] = value
    return options


def log(text: str) -> None:
    """One line to the sandbox's log."""
    os.write(2, ("harness: " + text.replace("\n", " | ") + "\n").encode("utf-8", "replace"))


def _ignore(_result: Dict[str, Any]) -> None:
    """The answer says nothing that matters."""


def _ignore_refusal(_kind: str, _reason: str) -> None:
    """A refusal changes nothing for the turn."""


def _failure(message: Dict[str, Any], reason: str) -> Dict[str, Any]:
    if message.get("method") == "tools/call":
        text = {"type": "text", "text": reason}
        return {
            "jsonrpc": "2.0",
            "id": message["id"],
            "result": {"content": [text], "isError": True},
        }
    error = {"code": -32000, "message": reason}
    return {"jsonrpc": "2.0", "id": message["id"], "error": error}


def _mark_away(answer: Dict[str, Any], away: float) -> Dict[str, Any]:
    """Say in a tool's result that the daemon was away while it was called."""
    result = answer.get("result")
    if not away or not isinstance(result, dict) or not isinstance(result.get("content"), list):
        return answer
    text = f"(the hive was away for {away:.1f} s during this call; it was repeated safely)"
    content = [*result["content"], {"type": "text", "text": text}]
    return dict(answer, result=dict(result, content=content))
