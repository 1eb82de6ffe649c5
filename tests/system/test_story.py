"""A whole hive with the real claude program in real sandboxes; only the model is scripted."""

from __future__ import annotations

import os
import pathlib
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.system import hive_process as hives

from rigs.scripts import script

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]

KILLS = int(os.environ.get("HIVE_TEST_KILLS", "6"))
"""How often the campaign kills the daemon; 50 for the full run."""


def tool(name: str, **given: Any) -> dict[str, Any]:
    """A step that uses one tool."""
    return {"tool": name, "input": given}


def send(to: str, body: str) -> dict[str, Any]:
    """A step that sends mail."""
    return tool("mcp__hive__send", to=to, body=body)


@pytest.fixture
def hive(tmp_path: pathlib.Path, test_cache: pathlib.Path) -> Iterator[hives.HiveProcess]:
    """A running hive whose model plays the scripts in its mail; at its end nothing is left."""
    with (
        hives.scripted_model() as (url, key),
        hives.hive(tmp_path / "home", test_cache, sandbox="host") as process,
    ):
        process.env |= {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key}
        process.start()
        yield process
    assert hives.processes_of(tmp_path / "home") == []


@pytest.fixture
def demo(tmp_path: pathlib.Path, test_cache: pathlib.Path) -> Iterator[hives.HiveProcess]:
    """A running demo."""
    with hives.hive(tmp_path / "demo", test_cache, sandbox="auto") as process:
        process.start("--demo")
        yield process
    assert hives.processes_of(tmp_path / "demo") == []


def spawn(hive: hives.HiveProcess, *names: str) -> None:
    """Spawn agents as the operator and wait until their harnesses have said hello."""
    for name in names:
        hive.ask("spawn", name)
    for name in names:
        hive.until(f"{name} idles", lambda name=name: idle(hive, name))


def idle(hive: hives.HiveProcess, name: str) -> bool:
    """Whether an agent runs and waits for mail."""
    row = hive.agent(name)
    return row is not None and (row["phase"], row["turn_state"]) == ("running", "idle")


def mail(hive: hives.HiveProcess) -> list[dict[str, Any]]:
    """All messages, oldest first."""
    found = hive.ask("messages", "--limit", "1000")
    return sorted(found["messages"], key=lambda row: row["id"])


def test_the_demo_story_from_request_to_answer(demo):
    demo.until("the manager idles", lambda: idle(demo, "manager"))
    demo.ask("send", "manager", "Please get me a helper named counter that counts things")
    waiting = demo.until("a request waits", lambda: demo.ask("pending")["approvals"])
    assert [(a["kind"], a["agent"], a["requested_by"]) for a in waiting] == [
        ("spawn", "counter", "manager")
    ]
    assert demo.agent("counter") is None
    stale = demo.run("approve", str(waiting[0]["id"]), "--digest", "0" * 64, "--json")
    assert stale.returncode == 6, stale.stderr
    demo.ask("approve", str(waiting[0]["id"]))
    report = demo.until(
        "the report", lambda: [m for m in demo.ask("inbox")["messages"] if "1229" in m["body"]]
    )
    assert report[0]["from"] == "manager"
    assert "the largest is 9973" in report[0]["body"]
    counter = demo.agent("counter")
    state = demo.home / "agents" / counter["id"] / "state"
    assert "sieve" in (state / "primes.py").read_text()
    demo.until("all mail is settled", lambda: _settled(mail(demo)))
    outcomes = {turn["outcome"] for turn in demo.ask("turns", "counter")["turns"]}
    assert outcomes == {"ok"}

    demo.ask("send", "manager", "Give counter the package tree")
    card = demo.until(
        "the change is built",
        lambda: [a for a in demo.ask("pending")["approvals"] if a["proposal"]["build"] == "built"],
        180,
    )[0]
    assert (card["kind"], card["agent"]) == ("apply_commit", "counter")
    demo.ask("approve", str(card["id"]))
    demo.until(
        "the operator hears of it",
        lambda: [m for m in demo.ask("inbox")["messages"] if "new configuration" in m["body"]],
    )
    assert "tree" in demo.ask("history", "counter")["commits"][0]["message"]


def _settled(rows: list[dict[str, Any]]) -> bool:
    return all(row["state"] == "handled" for row in rows if row["to"] != "operator")


def test_two_agents_exchange_fifty_messages(hive):
    spawn(hive, "ann", "bob")
    balls = [send("bob", f"ping {n} {script(send('ann', f'pong {n}'))}") for n in range(25)]
    hive.ask("send", "ann", script(*balls))
    hive.until(
        "25 pongs are handled",
        lambda: (
            sum(
                m["state"] == "handled" and m["body"].startswith("pong")
                for m in mail(hive)
                if m["to"] == "ann"
            )
            == 25
        ),
        180,
    )
    rows = mail(hive)
    pongs = [m["body"] for m in rows if m["from"] == "bob"]
    assert pongs == [f"pong {n}" for n in range(25)]
    assert {m["deliveries"] for m in rows if m["to"] in ("ann", "bob")} == {1}


def test_an_agent_in_its_sandbox_reaches_nothing_but_its_own(hive):
    spawn(hive, "eve")
    page = hive.ready["url"].rsplit(":", 1)[1]
    probe = f"""
id -u; grep CapEff /proc/self/status
curl -s -m 2 -o /dev/null http://127.0.0.1:{page}/ && echo REACHED page
curl -s -m 2 --noproxy '*' -o /dev/null http://192.0.2.1/ && echo REACHED network
curl -s -m 5 -o /dev/null -w 'egress %{{http_code}}\\n' -x http://127.0.0.1:3128 http://example.org/
ls {hive.home} >/dev/null 2>&1 && echo REACHED home
ls /proc | grep -c '^[0-9]'
env | grep -iE 'sk-ant|secret' && echo REACHED secret
touch /usr/x 2>/dev/null && echo REACHED usr
touch /run/hive/x 2>/dev/null && echo REACHED socket directory
ls -A /run/hive
python3 -c 'import socket
s = socket.socket(socket.AF_UNIX)
s.connect("/run/hive/hive.sock")
s.sendall(b"{{\\"id\\":1,\\"method\\":\\"approve\\",\\"params\\":{{\\"id\\":1}}}}\\n")
print(s.recv(500))'
echo end
"""
    hive.ask(
        "send", "eve", script(tool("Bash", command=probe), send("operator", "{{last_result}}"))
    )
    [said] = hive.until("what eve found", lambda: hive.ask("inbox")["messages"])
    lines = said["body"].splitlines()
    assert "end" in lines, said["body"]
    assert not [line for line in lines if "REACHED" in line], said["body"]
    assert "CapEff:\t0000000000000000" in lines
    assert lines[0] != "0"
    assert "egress 403" in lines
    assert "hive.sock" in lines
    assert any("unknown method" in line.lower() or '"error"' in line for line in lines)
    assert hive.ask("pending")["approvals"] == []


def test_sandboxes_outlive_the_daemon_and_are_adopted(hive):
    spawn(hive, "bob")
    before = {name: hive.agent(name)["pid"] for name in ("manager", "bob")}
    long = script(tool("Bash", command="sleep 8; echo slept"), send("operator", "{{last_result}}"))
    hive.ask("send", "bob", long)
    hive.until("bob thinks", lambda: hive.agent("bob")["turn_state"] == "thinking")
    hive.kill()
    hive.start()
    assert {name: hive.agent(name)["pid"] for name in ("manager", "bob")} == before
    [said] = hive.until("the answer", lambda: hive.ask("inbox")["messages"])
    assert said["body"].strip() == "slept"
    rows = [m for m in mail(hive) if m["to"] == "bob"]
    assert [(m["state"], m["deliveries"]) for m in rows] == [("handled", 1)]


def test_a_dead_sandbox_is_noticed_and_started_again_with_its_mail(hive):
    spawn(hive, "bob")
    first = hive.agent("bob")["pid"]
    hive.ask("send", "bob", script(tool("Bash", command="sleep 30"), send("operator", "late")))
    hive.until("bob thinks", lambda: hive.agent("bob")["turn_state"] == "thinking")
    os.kill(first, 9)
    row = hive.until(
        "bob runs again",
        lambda: (r := hive.agent("bob"))["phase"] == "running" and r["pid"] != first and r,
    )
    assert row["crashes"] == 1
    again = hive.until(
        "the mail comes back",
        lambda: [m for m in mail(hive) if m["to"] == "bob" and m["redelivered"]],
    )
    assert again[0]["deliveries"] == 2
    crash = [m for m in mail(hive) if m["to"] == "manager" and "container_crash" in m["body"]]
    assert len(crash) == 1
    hive.ask("kill", "bob")
    hive.until("bob is down", lambda: hive.agent("bob")["phase"] == "stopped")


def test_kill_9_of_the_daemon_at_random_moments_loses_nothing(hive):
    seed = int(os.environ.get("HIVE_TEST_SEED", "0")) or random.randrange(1 << 30)
    print(f"HIVE_TEST_SEED={seed}")
    chance = random.Random(seed)
    spawn(hive, "ann", "bob")
    acknowledged: list[int] = []
    stop = threading.Event()

    def operator() -> None:
        """Sends numbered work and keeps a journal of what was acknowledged."""
        number = 0
        while not stop.is_set():
            number += 1
            note = f"echo {number} >> /state/journal"
            steps = script(tool("Bash", command=note), send("bob", f"n {number}"))
            body = f"work {number} {steps}"
            while not stop.is_set():
                done = hive.run("send", "ann", body, "--key", f"work-{number}", "--json")
                if done.returncode == 0:
                    acknowledged.append(number)
                    break
                assert done.returncode in (3, 7), (done.returncode, done.stderr)
                time.sleep(0.05)
            stop.wait(chance.uniform(0.1, 0.5))

    sender = threading.Thread(target=operator)
    sender.start()
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.05, 2.5))
            hive.kill()
            hive.start()
    finally:
        stop.set()
        sender.join()
    hive.until(
        "all work is handled",
        lambda: all(m["state"] == "handled" for m in mail(hive) if m["to"] in ("ann", "bob")),
        240,
    )
    rows = mail(hive)
    work = [m for m in rows if m["to"] == "ann" and m["body"].startswith("work ")]
    assert {int(m["body"].split()[1]) for m in work} >= set(acknowledged)
    assert len(work) == len({m["body"] for m in work}), "a key was used twice"
    ann = hive.home / "agents" / hive.agent("ann")["id"] / "state"
    journal = [int(line) for line in (ann / "journal").read_text().split()]
    assert set(journal) >= set(acknowledged)
    twice = {n for n in journal if journal.count(n) > 1}
    marked = {int(m["body"].split()[1]) for m in work if m["deliveries"] > 1}
    assert twice <= marked, f"handled twice without the mark: {twice - marked}"
    reports = [m["body"] for m in rows if m["to"] == "bob" and m["body"].startswith("n ")]
    assert {int(text.split()[1]) for text in reports} >= set(acknowledged)


def test_sigterm_leaves_the_agents_and_down_ends_them(hive):
    hive.until("the manager idles", lambda: idle(hive, "manager"))
    pid = hive.agent("manager")["pid"]
    started = time.monotonic()
    assert hive.terminate() == 0
    assert time.monotonic() - started < 10
    assert pathlib.Path(f"/proc/{pid}").exists()
    assert hive.run("list").returncode == 3
    hive.start()
    assert hive.agent("manager")["pid"] == pid
    assert hive.run("down").returncode == 0
    assert hive.process is not None
    assert hive.process.wait(20) == 0
    hive.process.stdout.close()
    hive.process = None
    assert hives.processes_of(hive.home) == []
    hive.start()
    hive.until("the manager is back", lambda: idle(hive, "manager"))


def test_a_second_daemon_is_refused(hive):
    other = hive.run("up", "--json", "--port", "0")
    assert other.returncode == 6
    assert "a hive already runs in" in other.stderr
    assert hive.run("list").returncode == 0
