"""What each verb asks the daemon, what it prints, and how it ends."""

from __future__ import annotations

import fcntl
import json
import threading
import time
from typing import Any

import pytest

AGENT = {
    "id": "0123456789ab", "name": "coder", "role": "agent", "wanted": "running",
    "phase": "running", "phase_since": "2026-11-23T08:15:00.123Z", "phase_note": "",
    "doing": None, "pid": 17, "crashes": 0, "retry_at": None, "turn_state": "thinking",
    "turn_since": "2026-11-23T08:15:00.123Z", "turn_note": "", "status": "reads the code",
    "model": "claude-sonnet-5", "created_at": "2026-11-23T08:15:00.123Z", "unread": 2,
}  # fmt: skip
MESSAGE = {
    "id": 7, "from": "coder", "to": "operator", "type": "text", "body": "done\n2 files",
    "in_reply_to": 3, "sent_at": "2026-11-23T08:15:00.123Z", "state": "queued", "deliveries": 2,
    "redelivered": True, "changed_at": "2026-11-23T08:15:00.123Z",
}  # fmt: skip
APPROVAL = {
    "id": 5, "kind": "spawn", "agent": "coder", "description": "to write code",
    "requested_by": "manager", "requested_at": "2026-11-23T08:15:00.123Z", "state": "pending",
    "digest": "ab12", "decided_by": "", "decided_via": "", "decided_at": None, "note": "",
    "changed_at": "2026-11-23T08:15:00.123Z", "proposal": None,
}  # fmt: skip
SPAWN_CARD = {
    "approval": APPROVAL, "proposal": None, "commit": None, "bases": [], "base": "deployed",
    "files": [], "effects": {}, "description": "to write code", "requested_by": "manager",
    "digest": "ab12", "needs_acknowledgement": [],
}  # fmt: skip
TURN = {
    "id": "t1", "started_at": "2026-11-23T08:15:00.123Z", "ended_at": None, "outcome": "ok",
    "note": "", "woke_by": "operator", "model": "m", "tool_calls": 3, "input_tokens": 10,
    "output_tokens": 20, "cache_read_tokens": 0, "cache_write_tokens": 0, "cost_usd": 0.25,
    "context_tokens": 99,
}  # fmt: skip


def test_list_shows_agents_in_a_table(hive: Any, daemon: Any) -> None:
    daemon.answers["list"] = {"agents": [AGENT]}
    done = hive("list")
    assert done.code == 0
    head, row = done.out.splitlines()
    assert head.split() == ["NAME", "ROLE", "STATE", "SINCE", "MAIL", "MODEL", "REMARK"]
    assert row.split()[:3] == ["coder", "agent", "thinking"]
    assert row.index("thinking") == head.index("STATE")
    assert row.endswith("reads the code")
    assert "\x1b" not in done.out


def test_status_says_what_waits_and_where_to_look(hive: Any, daemon: Any) -> None:
    daemon.answers["status"] = {
        "number": 9, "version": "0.1.0", "model": {"kind": "none", "upstream": "", "ready": False},
        "pending": 1, "questions": 2, "inbox": 0, "agents": [AGENT],
    }  # fmt: skip
    done = hive("status")
    assert done.code == 0, done.err
    assert "1 approval for you; see: hive pending" in done.out
    assert "2 questions for you; see: hive questions" in done.out
    assert "inbox      nothing waits for you" in done.out
    assert "model      none yet" in done.out
    assert done.out.splitlines()[-1].startswith("coder ")


def test_json_passes_the_daemons_answer_on(hive: Any, daemon: Any) -> None:
    daemon.answers["list"] = {"agents": [AGENT]}
    assert hive("list", "--json").json == {"agents": [AGENT]}
    assert hive("--json", "list").json == {"agents": [AGENT]}


@pytest.mark.parametrize(
    ("arguments", "verb", "args"),
    [
        (["start", "coder"], "start", {"name": "coder", "reason": ""}),
        (["stop", "coder", "--reason", "lunch"], "stop", {"name": "coder", "reason": "lunch"}),
        (["restart", "coder"], "restart", {"name": "coder", "reason": ""}),
        (["kill", "coder"], "kill", {"name": "coder", "reason": ""}),
        (["interrupt", "coder"], "interrupt", {"name": "coder"}),
        (["retry", "coder"], "retry", {"name": "coder"}),
        (["requeue", "7"], "requeue", {"id": 7}),
        (["inbox", "--handled", "7"], "handled", {"id": 7}),
        (["deny", "5", "--note", "no"], "deny", {"id": 5, "note": "no"}),
        (["withdraw", "5"], "withdraw", {"id": 5}),
        (["model", "demo"], "model-source", {"kind": "demo", "secret": ""}),
    ],
)
def test_simple_verbs_ask_exactly_this(
    hive: Any, daemon: Any, arguments: list[str], verb: str, args: dict[str, Any]
) -> None:
    done = hive(*arguments)
    assert done.code == 0, done.err
    assert daemon.asked == [(verb, args)]
    assert hive(*arguments, "--json").json == {}


def test_send_takes_the_body_from_standard_input(hive: Any, daemon: Any) -> None:
    daemon.answers["send"] = MESSAGE
    done = hive("send", "coder", "-", "--key", "k1", "--reply-to", "3", stdin="grüße\n/clear\n")
    assert done.out == "message 7 sent to coder\n"
    assert daemon.asked == [
        ("send", {"to": "coder", "body": "grüße\n/clear\n", "in_reply_to": 3, "key": "k1"})
    ]


def test_a_body_that_begins_with_a_dash_can_be_sent(hive: Any, daemon: Any) -> None:
    daemon.answers["send"] = MESSAGE
    assert hive("send", "coder", "--", "-n is an option").code == 0
    assert daemon.asked[0][1]["body"] == "-n is an option"


def test_inbox_shows_whole_bodies_oldest_first(hive: Any, daemon: Any) -> None:
    daemon.answers["inbox"] = {"messages": [MESSAGE, {**MESSAGE, "id": 6, "body": "first"}]}
    out = hive("inbox").out
    assert out.index("first") < out.index("    done\n    2 files\n")
    assert "answers 3 · delivered again" in out
    assert daemon.asked == [("inbox", {"limit": 50, "all": False})]


def test_inbox_watch_shows_all_that_comes_and_each_once(hive: Any, daemon: Any) -> None:
    def mail(number: int, **changed: Any) -> dict[str, Any]:
        return {**MESSAGE, "id": number, "body": f"mail {number}", **changed}

    def facts(kind: str, *numbers: int) -> list[dict[str, Any]]:
        return [{"kind": kind, "message": number} for number in numbers]

    burst = range(10, 130)
    daemon.answers["status"] = {"number": 40}
    # The last of them came before the list was read, and the feed names it once more.
    daemon.answers["inbox"] = {"messages": [mail(8), mail(7)]}
    daemon.events["subscribe"] = [
        {
            "number": 161,
            "facts": [*facts("MessageSent", 8, *burst), *facts("MessageHandled", 10, 3)],
            "messages": [
                mail(8),
                *(mail(number) for number in reversed(burst) if number != 10),
                mail(10, state="handled"),
                mail(3, state="handled"),
            ],
        },
        {"number": 162, "facts": facts("MessageSent", 200), "messages": [mail(200, to="coder")]},
        {"number": 163, "facts": facts("MessageHandled", 11), "messages": [mail(11)]},
        {"number": 164, "facts": [{"kind": "TurnEnded", "message": None}], "messages": []},
        {"number": 165, "facts": facts("MessageSent", 201), "messages": [mail(201)]},
    ]
    done = hive("inbox", "--watch", "--limit", "2", "--json")
    assert done.code == 0, done.err
    shown = [json.loads(line)["id"] for line in done.out.splitlines()]
    assert shown == [7, 8, *burst, 201]
    assert daemon.asked == [
        ("status", {}),
        ("inbox", {"limit": 2, "all": False}),
        ("subscribe", {"after": 40}),
    ]
    assert hive("inbox", "--watch").out.count("    mail 8\n") == 1


def test_approve_shows_the_approval_and_names_its_digest(hive: Any, daemon: Any) -> None:
    daemon.answers["card"] = SPAWN_CARD
    done = hive("approve", "5", stdin="y\n")
    assert done.code == 0, done.err
    assert "  | to write code" in done.out
    assert daemon.asked[-1] == ("approve", {"id": 5, "digest": "ab12", "acknowledged": []})


def test_approve_without_a_yes_approves_nothing(hive: Any, daemon: Any) -> None:
    daemon.answers["card"] = SPAWN_CARD
    assert hive("approve", "5", stdin="n\n").code == 130
    assert [verb for verb, _ in daemon.asked] == ["card"]


def test_approve_with_nobody_to_ask_says_what_a_script_types(hive: Any, daemon: Any) -> None:
    daemon.answers["card"] = SPAWN_CARD
    done = hive("approve", "5", stdin="")
    assert done.code == 2
    assert "hive approve 5 --digest ab12" in done.err
    assert [verb for verb, _ in daemon.asked] == ["card"]


def test_approve_with_a_digest_asks_nothing(hive: Any, daemon: Any) -> None:
    assert hive("approve", "5", "--digest", "ff00").code == 0
    assert daemon.asked == [("approve", {"id": 5, "digest": "ff00", "acknowledged": []})]


def test_approve_of_a_decided_one_is_a_conflict(hive: Any, daemon: Any) -> None:
    daemon.answers["card"] = {**SPAWN_CARD, "approval": {**APPROVAL, "state": "denied"}}
    done = hive("approve", "5", "--json")
    assert done.code == 6
    assert json.loads(done.err) == {
        "error": {"kind": "conflict", "message": "cannot decide approval 5: it is denied"}
    }
    daemon.errors["card"] = {"kind": "not_found", "message": "cannot find approval 6"}
    assert hive("approve", "6").code == 5


def test_spawn_and_request_spawn(hive: Any, daemon: Any) -> None:
    daemon.answers["spawn"] = daemon.answers["request-spawn"] = APPROVAL
    assert "approved as 5" in hive("spawn", "coder").out
    assert "hive approve 5" in hive("request-spawn", "coder", "--description", "why").out
    assert daemon.asked == [
        ("spawn", {"name": "coder", "description": ""}),
        ("request-spawn", {"name": "coder", "description": "why"}),
    ]


def test_turns_are_a_table(hive: Any, daemon: Any) -> None:
    daemon.answers["turns"] = {"turns": [TURN]}
    assert hive("turns", "coder").out.splitlines()[1].split()[-1] == "0.2500"


def test_logs_follow_the_stream(hive: Any, daemon: Any) -> None:
    daemon.events["logs"] = [{"line": "one"}, {"line": "\x1b[2Jtwo"}]
    assert hive("logs", "coder", "-f", "-n", "5").out == "one\n\\x1b[2Jtwo\n"
    assert daemon.asked == [("logs", {"name": "coder", "lines": 5, "follow": True})]
    out = hive("logs", "coder", "--json").out
    assert [json.loads(line) for line in out.splitlines()] == daemon.events["logs"]


def test_a_secret_comes_by_standard_input_and_never_by_argument(hive: Any, daemon: Any) -> None:
    done = hive("model", "api-key", stdin="sk-secret\n")
    assert daemon.asked == [("model-source", {"kind": "api_key", "secret": "sk-secret"})]
    assert "sk-secret" not in done.out + done.err
    assert hive("model", "api-key", "sk-secret").code == 2
    assert hive("model", "token", stdin="\n").code == 2


def test_login_prints_the_link_alone(hive: Any, daemon: Any) -> None:
    daemon.answers["sign-in-link"] = {"sign_in": "http://127.0.0.1:7000/sign-in#x"}
    assert hive("login").out == "http://127.0.0.1:7000/sign-in#x\n"


def end_when_asked(daemon: Any, verb: str) -> threading.Thread:
    """End the fake daemon once *verb* was asked; the verb itself is cut."""
    daemon.cut.add(verb)

    def wait() -> None:
        while verb not in [asked for asked, _ in daemon.asked]:
            time.sleep(0.01)
        daemon.close()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_down_returns_when_nobody_answers_any_more(hive: Any, daemon: Any) -> None:
    ending = end_when_asked(daemon, "version")
    done = hive("down")
    ending.join(10)
    assert (done.code, done.out) == (0, "the hive has ended\n")
    assert [asked for asked, _ in daemon.asked][:2] == ["shutdown", "version"]
    assert daemon.asked[0] == ("shutdown", {"agents": True})


def test_down_waits_for_the_lock_of_the_home(hive: Any, daemon: Any) -> None:
    lock = (daemon.home / "run" / "daemon.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    ending = end_when_asked(daemon, "version")
    released: list[float] = []

    def release() -> None:
        ending.join(10)
        # Long enough for a `down` that does not look at the lock to have returned.
        time.sleep(0.5)
        released.append(time.monotonic())
        lock.close()

    releasing = threading.Thread(target=release)
    releasing.start()
    done = hive("down", "--keep-agents")
    ended = time.monotonic()
    releasing.join()
    assert done.code == 0, done.err
    assert daemon.asked[0] == ("shutdown", {"agents": False})
    assert ended > released[0]
