"""The turn machine: events in, commands out, no input or output of its own.

Rule: one turn at a time, one process at a time, and a turn is finished exactly
once. Whatever ends a turn (result, exit, order, time limit, refused login)
goes through `_finish`, and only when the process is known to rest or to be gone.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from hyperhive.harness import claude, extras, judge, live, prompt

ABORT_SECONDS = 10.0
"""How long an interrupted turn may take to end before its process is killed."""
LOGIN_SECONDS = 3.0
GRACE_SECONDS = 5.0
"""How long a retired process may take to leave after its input was closed."""
STOP_SECONDS = 2.0
COMPACTION = "compaction"
KINDS = ["mail", COMPACTION]
"""What `take` may answer with."""


class Do(NamedTuple):
    """A command to the runner: a verb of `run.Runner` and what it needs."""

    verb: str
    args: Tuple[Any, ...] = ()


class Turn:
    """What is known of the turn that runs."""

    def __init__(self, plan: Dict[str, Any], key: str) -> None:
        self.plan = plan
        self.id = str(plan["turn"])
        self.blocks = prompt.compose(plan, key)
        self.judge = judge.Judge()
        self.resume = bool(plan["resume"])
        self.ending: Optional[judge.Verdict] = None
        self.told_session = self.resume
        self.reused = False
        self.heard = False
        self.recovered = False
        self.compacts = plan.get("kind") == COMPACTION
        self.slowed = False


class Machine:
    """All that the harness decides.

    It reports only states that the daemon cannot know. That a turn began and how it
    ended is said by ``take`` and ``finish``; a report of the same could come later and
    overwrite what is newer.

    Phases: ``idle`` (a take is out), ``opening`` (an old process must leave
    first), ``running``, ``finishing`` (the finish is out), ``stopping``.
    """

    def __init__(self, new_key: Callable[[], str] = lambda: os.urandom(12).hex()) -> None:
        self._new_key = new_key
        self.phase = "idle"
        self._turn: Optional[Turn] = None
        self._process: Optional[Tuple[Any, ...]] = None
        self._leaving = False
        self._outcome = "ok"
        self._requests = 0
        self._servers: List[Dict[str, str]] = []

    # --- events -------------------------------------------------------------------------

    def planned(self, plan: Dict[str, Any]) -> List[Do]:
        """`take` was answered."""
        if self.phase != "idle":
            return []
        turn = self._turn = Turn(plan, self._new_key())
        seconds = float(plan["settings"]["turn_seconds"])
        does = [
            Do("cancel_timer", ("warm",)),
            *self._begin_in_terminal(turn),
            *[Do("emit", live.note(str(text))) for text in plan.get("warnings") or []],
            Do("watch_orders", (turn.id,)),
            Do("set_timer", ("turn", seconds)),
        ]
        if self._process is None:
            return does + self._launch()
        if self._process == claude.launch_key(plan) and not self._leaving:
            self.phase, turn.reused = "running", True
            return [*does, self._speak()]
        self.phase = "opening"
        return does + self._retire()

    def line(self, event: Dict[str, Any]) -> List[Do]:
        """The program said something."""
        kind = event.get("type")
        if kind == "control_request":
            return self._asked(event)
        turn = self._turn
        if turn is None or self.phase != "running":
            return []
        turn.heard = True
        turn.judge.see(event)
        does = [Do("emit", record) for record in live.records(event)]
        if kind == "result":
            return does + self._result(turn, event)
        if kind == "user":
            does += self._tell_session(turn)
        elif kind == "assistant" and turn.slowed and not event.get("error"):
            turn.slowed = False
            does.append(Do("report", ("thinking", "")))
        elif kind == "system" and event.get("subtype") == "api_retry":
            does += self._retried(turn, event)
        elif kind == "system" and event.get("subtype") == "init":
            does += self._look_at_servers(turn, event)
        return does

    def exited(self, code: int, stderr: str) -> List[Do]:
        """The program is gone; *code* is negative for a signal."""
        turn, phase = self._turn, self.phase
        does = [Do("cancel_timer", (name,)) for name in ("grace", "warm", "abort")]
        self._process, self._leaving = None, False
        if phase == "stopping":
            return [*does, Do("leave", (0,))]
        if turn is None or phase in ("idle", "finishing"):
            if code < 0 and phase == "idle":
                does.append(Do("emit", live.note(f"the resting claude process {ended(code)}")))
            return does
        if turn.ending is not None:
            return does + self._finish(turn.ending)
        if phase == "opening" or (turn.reused and not turn.heard):
            # A warm process that dies as it is spoken to has done nothing of this turn.
            turn.reused, turn.resume = False, turn.resume or turn.reused
            return does + self._launch()
        if not turn.resume and not turn.recovered and "already in use" in stderr:
            turn.resume = turn.told_session = turn.recovered = True
            return does + self._launch()
        if turn.resume and not turn.recovered and "No conversation found" in stderr:
            if turn.compacts:
                return does + self._finish(self._nothing_there(turn))
            return does + self._start_anew(turn) + self._launch()
        last = stderr.strip()[-1500:] or "it said nothing"
        return does + self._finish(judge.Verdict("failed", f"claude {ended(code)}: {last}"))

    def ordered(self, order: str) -> List[Do]:
        """`orders` was answered."""
        if order != "interrupt":
            return []
        return self._end(judge.Verdict("interrupted", "interrupted by the operator"), ABORT_SECONDS)

    def answered(self, request: str, message: Dict[str, Any]) -> List[Do]:
        """The daemon answered an MCP message."""
        if self._process is None:
            return []
        return [Do("write", (claude.mcp_answer(request, message),))]

    def finished(self, resident: int) -> List[Do]:
        """`finish` was answered; *resident* is the memory of the process, 0 for none."""
        if self.phase != "finishing" or self._turn is None:
            return []
        settings = self._turn.plan["settings"]
        self._turn, self.phase = None, "idle"
        does: List[Do] = []
        if self._process is not None and not self._leaving:
            warm = float(settings["warm_seconds"])
            healthy = self._outcome in ("ok", "interrupted", "too_long")
            if healthy and warm > 0 and resident <= int(settings["warm_bytes"]):
                does.append(Do("set_timer", ("warm", warm)))
            else:
                does += self._retire()
        return [*does, Do("take")]

    def rang(self, timer: str) -> List[Do]:
        """A timer that was set has run out."""
        if timer == "warm" and self.phase == "idle" and self._process is not None:
            return self._retire()
        if timer in ("grace", "abort") and self._process is not None:
            return [Do("kill")]
        if timer == "turn" and self._turn is not None:
            limit = float(self._turn.plan["settings"]["turn_seconds"])
            note = f"the turn took longer than {limit:g} s and was ended"
            return self._end(judge.Verdict("failed", note), ABORT_SECONDS)
        return []

    def stop(self) -> List[Do]:
        """Somebody asked the harness to end. Nothing is finished: the mail goes back."""
        busy = self.phase == "running"
        self.phase = "stopping"
        if self._process is None:
            return [Do("leave", (0,))]
        does = [Do("write", (self._interrupt(),))] if busy else []
        # The program ends by itself after the interrupted turn when its input is closed.
        self._leaving = True
        return [*does, Do("close_input"), Do("set_timer", ("grace", STOP_SECONDS))]

    # --- inside -------------------------------------------------------------------------

    def _launch(self) -> List[Do]:
        turn = self._turn
        assert turn is not None
        self.phase = "running"
        self._process, self._leaving = claude.launch_key(turn.plan), False
        return [Do("launch", (turn.plan, turn.resume)), self._speak()]

    def _speak(self) -> Do:
        assert self._turn is not None
        if self._turn.compacts:
            return Do("write", (claude.command("/compact"),))
        return Do("write", (claude.mail(self._turn.blocks),))

    def _retire(self) -> List[Do]:
        if self._leaving:
            return []
        self._leaving = True
        return [Do("close_input"), Do("set_timer", ("grace", GRACE_SECONDS))]

    def _interrupt(self) -> Dict[str, Any]:
        self._requests += 1
        return claude.interrupt(f"hive-{self._requests}")

    def _end(self, verdict: judge.Verdict, seconds: float) -> List[Do]:
        turn = self._turn
        if turn is None or turn.ending is not None or self.phase not in ("running", "opening"):
            return []
        turn.ending = verdict
        does = [Do("emit", live.note(verdict.note))]
        if self.phase == "opening":
            # Nothing was said to a process yet; the exit of the old one finishes the turn.
            return does
        return [*does, Do("write", (self._interrupt(),)), Do("set_timer", ("abort", seconds))]

    def _result(self, turn: Turn, event: Dict[str, Any]) -> List[Do]:
        if turn.ending is not None:
            return self._tell_session(turn) + self._finish(turn.ending)
        if any("No conversation found" in str(error) for error in event.get("errors") or []):
            if turn.compacts:
                return self._finish(self._nothing_there(turn))
            if turn.recovered:
                return self._finish(turn.judge.verdict(event))
            does = self._start_anew(turn)
            self.phase = "opening"
            return does + self._retire()
        does = self._tell_session(turn)
        judged = turn.judge.compaction if turn.compacts else turn.judge.verdict
        verdict = judged(event)
        return does + self._finish(verdict)

    def _begin_in_terminal(self, turn: Turn) -> List[Do]:
        """A mark and the mail: what the operator sees first of a turn."""
        if turn.compacts:
            why = str(turn.plan.get("woke_by"))
            return [Do("emit", ("compaction", {"why": why}))]
        does = [Do("emit", live.wake(message)) for message in turn.plan["messages"]]
        if turn.plan.get("preface"):
            does.append(Do("emit", live.note(str(turn.plan["preface"]))))
        return does

    def _nothing_there(self, turn: Turn) -> judge.Verdict:
        session = turn.plan["session"]
        return judge.Verdict("failed", f"session {session} was not found on disk")

    def _start_anew(self, turn: Turn) -> List[Do]:
        turn.resume = turn.told_session = False
        turn.recovered = True
        text = f"session {turn.plan['session']} was not found on disk; it starts anew"
        return [Do("emit", live.note(text))]

    def _finish(self, verdict: judge.Verdict) -> List[Do]:
        turn = self._turn
        assert turn is not None
        self.phase = "finishing"
        self._outcome = verdict.outcome
        usage = turn.judge.usage()
        record = {"outcome": verdict.outcome, "note": verdict.note, "usage": usage}
        record["tool_calls"] = turn.judge.tool_calls
        params = dict(record, turn=turn.id, retry_at=verdict.retry_at, window=turn.judge.window)
        record["kind"] = COMPACTION if turn.compacts else "mail"
        return [
            Do("cancel_timer", ("turn",)),
            Do("cancel_timer", ("abort",)),
            Do("unwatch_orders"),
            Do("emit", ("result", record)),
            Do("finish", (params,)),
        ]

    def _tell_session(self, turn: Turn) -> List[Do]:
        if turn.told_session:
            return []
        turn.told_session = True
        return [Do("tell_session", (turn.id, turn.plan["session"]))]

    def _retried(self, turn: Turn, event: Dict[str, Any]) -> List[Do]:
        status = event.get("error_status")
        if status in judge.LOGIN_STATUS:
            # The program would go on for minutes; a wrong credential does not mend itself.
            note = f"the model's API refused the credential ({status})"
            return self._end(judge.Verdict("needs_login", note), LOGIN_SECONDS)
        turn.slowed = True
        limited = status in judge.LIMIT_STATUS
        note = f"attempt {event.get('attempt')} of {event.get('max_retries')}: {status}"
        return [Do("report", ("rate_limited" if limited else "backing_off", note))]

    def _look_at_servers(self, turn: Turn, event: Dict[str, Any]) -> List[Do]:
        does: List[Do] = []
        own = extras.statuses([extras.OWN_SERVER], event)
        if own[0]["status"] != "connected":
            does.append(Do("emit", live.note("the hive's tools are missing in this turn")))
        wrong = extras.servers(turn.plan)[1]
        if wrong:
            does.append(Do("emit", live.note(wrong)))
        found = extras.statuses(extras.names(turn.plan), event)
        for one in found:
            if one["status"] != "connected":
                text = f"MCP server {one['name']}: {one['status']}; its tools are missing"
                does.append(Do("emit", live.note(text)))
        if found != self._servers:
            self._servers = found
            does.append(Do("report_servers", (turn.id, found)))
        return does

    def _asked(self, event: Dict[str, Any]) -> List[Do]:
        request = event.get("request") or {}
        request_id = str(event.get("request_id"))
        message = request.get("message")
        if request.get("subtype") != "mcp_message" or not isinstance(message, dict):
            reason = f"not known to this client: {request.get('subtype')}"
            return [Do("write", (claude.refusal(request_id, reason),))]
        turn = self._turn
        if "id" not in message:
            does = [Do("write", (claude.mcp_noted(request_id),))]
            return [*does, Do("notify", (turn.id, request_id, message))] if turn else does
        if turn is None:
            error = {"code": -32000, "message": "no turn is running"}
            answer = {"jsonrpc": "2.0", "id": message["id"], "error": error}
            return [Do("write", (claude.mcp_answer(request_id, answer),))]
        return [Do("call_mcp", (turn.id, request_id, message))]


def ended(code: int) -> str:
    """Say how a process ended."""
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
