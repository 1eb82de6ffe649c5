"""`hive` and configurations: the card on a terminal, logs, history, the way back."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest

from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import agents, ids
from hyperhive.services import card, spawning
from rigs import config_world

SEED = b'schema = 1\nmodel = "haiku"\n'
EFFECTS = {
    "changes": [
        {"topic": "packages", "change": "added", "name": "apt curl", "before": None,
         "after": "any version", "weight": "risk"},
        {"topic": "model", "change": "changed", "name": "model", "before": "haiku",
         "after": "opus", "weight": "notice"},
        {"topic": "hosts", "change": "removed", "name": "x.test", "before": "x.test",
         "after": None, "weight": "notice"},
    ],
    "risks": 1,
}  # fmt: skip


def make_card(files: dict[str, bytes], **more: Any) -> dict[str, Any]:
    """A card as the daemon makes it."""

    async def main() -> dict[str, Any]:
        clock = ManualClock()
        store, shelf = MemoryStore(clock), config_world.Shelf()
        agent = await store.write(
            lambda tx: spawning.create(tx, clock, ids.AgentName("coder"), agents.Role.AGENT, "test")
        )
        base = shelf.put({"agent.toml": SEED}, "seed")
        shelf.executable.add("run.sh")
        sha = shelf.put(files, "Use opus\n\nbecause \x1b[31mred")
        asked = await config_world.propose(
            store, agent.id, "coder", sha, base=base, effects=EFFECTS, **more
        )
        return await card.Cards(store, shelf).card(asked.id)  # type: ignore[arg-type]

    return asyncio.run(main())


@pytest.fixture
def plain() -> dict[str, Any]:
    return make_card({"agent.toml": b'schema = 1\nmodel = "opus"'})


@pytest.fixture
def odd() -> dict[str, Any]:
    return make_card(
        {"agent.toml": SEED, "run.sh": "exec\u200b p\tq\u202e\n\0\n".encode(),
         "logo.png": bytes(range(256))}
    )  # fmt: skip


def test_show_prints_effects_reasons_and_every_changed_byte(
    hive: Any, daemon: Any, plain: Any
) -> None:
    daemon.answers["card"] = plain
    done = hive("show", "1", "--base", "previous")
    assert done.code == 0, done.err
    assert daemon.asked == [("card", {"id": 1, "base": "previous"})]
    proposal = plain["proposal"]
    for part in (
        "kind        apply commit\n",
        f"commit      {proposal['sha']} (asked for as {proposal['commit_ref']})\n",
        f"runs now    {proposal['base_sha']}\n",
        "build       built\n",
        "  + packages: apt curl (any version)  [more power]\n",
        "  ~ model: model (haiku -> opus)\n",
        "  - hosts: x.test\n",
        "  | needs curl\n",
        "  | because ⟦ESC⟧[31mred\n",
        "  agent.toml  +1 -1  (changed)\n  @@ -1 +1 @@\n   schema = 1\n"
        '  -model = "haiku"\n  +model = "opus"\n  \\ no line feed at the end\n',
        f"digest      {plain['digest']}\n",
    ):
        assert part in done.out
    assert hive("show", "1", "--json").json == plain


def test_show_writes_out_what_has_no_picture_and_lists_what_was_not_read(
    hive: Any, daemon: Any, odd: Any
) -> None:
    daemon.answers["card"] = odd
    out = hive("show", "1").out
    assert "  +exec⟦U+200B⟧ p→   q⟦U+202E⟧\n  +⟦NUL⟧\n" in out
    digest = hashlib.sha256(bytes(range(256))).hexdigest()
    assert f"NOT READ (binary): 256 bytes, sha256 {digest}, blob " in out
    assert "run.sh  +2 -0  (added, becomes executable, control characters, " in out
    assert "must be acknowledged:\n  run.sh: control characters, " in out
    assert "\u202e" not in out and "\0" not in out and "\x1b" not in out


def test_approve_acknowledges_each_unread_file_and_names_what_was_shown(
    hive: Any, daemon: Any, odd: Any
) -> None:
    daemon.answers |= {"card": odd, "approve": odd["approval"]}
    done = hive("approve", "1", stdin="y\ny\ny\n")
    assert done.code == 0, done.err
    assert "acknowledge run.sh: control characters" in done.out
    given = {"id": 1, "digest": odd["digest"], "acknowledged": ["run.sh", "logo.png"]}
    assert daemon.asked[-1] == ("approve", given)
    sha, generation = odd["proposal"]["sha"], odd["proposal"]["generation"]
    end = f"approval 1 is approved: commit {sha}, generation {generation}\n"
    assert done.out.endswith(end)
    assert hive("approve", "1", stdin="y\nn\n").code == 130
    done = hive("approve", "1", stdin="")
    assert done.code == 2
    assert f"--digest {odd['digest']} --acknowledge run.sh --acknowledge logo.png" in done.err
    daemon.asked.clear()
    hive("approve", "1", "--digest", "d", "--acknowledge", "run.sh", "--acknowledge", "x")
    assert daemon.asked == [("approve", {"id": 1, "digest": "d", "acknowledged": ["run.sh", "x"]})]
    daemon.errors["approve"] = {
        "kind": "conflict", "message": "cannot approve approval 1: acknowledge first \x1b[2J",
    }  # fmt: skip
    done = hive("approve", "1", "--yes")
    assert (done.code, "acknowledge first \\x1b[2J" in done.err) == (6, True)


def test_pending_says_commit_and_build(hive: Any, daemon: Any, plain: Any) -> None:
    daemon.answers["pending"] = {"approvals": [plain["approval"]]}
    head, row = hive("pending").out.splitlines()
    assert head.split()[4:6] == ["COMMIT", "BUILD"]
    assert f"apply commit  coder  pending  {plain['proposal']['sha'][:12]}  built" in row


def test_a_log_is_followed_and_its_end_is_told(hive: Any, daemon: Any, plain: Any) -> None:
    daemon.events["build-log"] = [
        {"lines": ["Get:1 curl"], "ended": False}, {"lines": ["\x1b]0;evil"], "ended": True},
    ]  # fmt: skip
    plain["proposal"] |= {"build": "failed", "build_note": "no such package"}
    daemon.answers["card"] = plain
    done = hive("log", "1", "-f", "-n", "7")
    assert done.out == "Get:1 curl\n\\x1b]0;evil\n"
    assert done.err == "failed no such package\n"
    assert daemon.asked[0] == ("build-log", {"id": 1, "lines": 7, "follow": True})
    out = hive("log", "1", "--json").out
    assert [json.loads(line) for line in out.splitlines()] == daemon.events["build-log"]


HISTORY = {
    "agent": "coder",
    "deployment": {"sha": "a" * 40, "tag": "deployed/1", "deployed_at": "2026-11-23T08:15:00.123Z"},
    "commits": [
        {"sha": "a" * 40, "author": "m", "at": "2026-11-23T08:15:00.123Z", "message": "new\n\nx",
         "tags": ["proposal/1", "deployed/1"]},
        {"sha": "b" * 40, "author": "m", "at": "2026-11-23T08:15:00.123Z", "message": "seed",
         "tags": ["deployed/0"]},
    ],
    "decisions": [],
}  # fmt: skip


def test_history_lists_commits_and_decisions(hive: Any, daemon: Any, plain: Any) -> None:
    decided = plain["approval"] | {
        "state": "denied", "decided_by": "operator", "decided_via": "page", "note": "no",
        "decided_at": "2026-11-23T08:15:00.123Z",
    }  # fmt: skip
    daemon.answers["history"] = HISTORY | {"decisions": [decided]}
    lines = hive("history", "coder").out.splitlines()
    assert lines[1].split()[:4] == ["a" * 12, "runs", "proposal/1", "deployed/1"]
    assert lines[2].split()[:2] == ["b" * 12, "deployed/0"]
    assert "denied  operator    page  2026-11-23T08:15:00.123Z  no" in lines[5]
    daemon.answers["history"] = {**HISTORY, "deployment": None, "commits": []}
    assert hive("history", "coder").out == "coder has no configuration yet\n"
    assert daemon.asked[0] == ("history", {"agent": "coder"})


def test_rollback_rebuild_and_cancel_build(hive: Any, daemon: Any, plain: Any) -> None:
    for verb in ("rollback", "rebuild", "cancel-build"):
        daemon.answers[verb] = plain["approval"]
    assert "decide: hive approve 1\n" in hive("rollback", "coder", "deployed/0", "--why", "w").out
    assert "follow it with: hive log 1 -f\n" in hive("rebuild", "coder").out
    assert "is cancelled" in hive("cancel-build", "1").out
    assert daemon.asked == [
        ("rollback", {"agent": "coder", "tag": "deployed/0", "description": "w"}),
        ("rebuild", {"name": "coder"}),
        ("cancel-build", {"id": 1}),
    ]
    assert hive("rebuild", "coder", "--json").json == plain["approval"]


def test_files_contents_and_differences(hive: Any, daemon: Any, plain: Any) -> None:
    daemon.answers["config-files"] = {
        "agent": "coder", "commit": HISTORY["commits"][0],
        "files": [{"path": "agent.toml", "mode": "100644", "size": 7, "blob": "c" * 40}],
    }  # fmt: skip
    daemon.answers["config-file"] = {
        "kind": "text", "marks": [{"says": "carriage returns", "lines": [1]}],
        "rows": [{"sign": " ", "text": "a\tb⟦CR⟧"}],
    }  # fmt: skip
    daemon.answers["compare"] = {"files": plain["files"]}
    assert hive("config", "show", "coder").out.splitlines()[2].split() == [
        "agent.toml", "100644", "7",
    ]  # fmt: skip
    done = hive("config", "show", "coder", "agent.toml", "--at", "deployed/1")
    assert (done.out, done.err) == ("a    b⟦CR⟧\n", "carriage returns in line 1\n")
    assert '  +model = "opus"\n' in hive("config", "diff", "coder", "deployed/0").out
    assert daemon.asked == [
        ("config-files", {"agent": "coder", "revision": ""}),
        ("config-file", {"agent": "coder", "path": "agent.toml", "revision": "deployed/1"}),
        ("compare", {"agent": "coder", "before": "deployed/0", "after": ""}),
    ]


def test_repositories_deploys_and_inputs(hive: Any, daemon: Any) -> None:
    mirror = {"name": "coder", "state": "behind", "error": "cannot push: 500"}
    daemon.answers["repositories"] = {
        "mirror": {"configured": True, "url": "https://forge.test", "organisation": "configs"},
        "meta": {"mirror": None},
        "repositories": [
            {"agent": "coder", "deployment": HISTORY["deployment"], "mirror": mirror}
        ],
    }  # fmt: skip
    lines = hive("repos").out.splitlines()
    assert lines[0] == "forge: https://forge.test configs"
    assert lines[2].split()[:3] == ["coder", "deployed/1", "a" * 12]
    assert lines[2].endswith("behind  cannot push: 500")
    assert lines[3].split()[0] == "meta"
    daemon.answers["meta-log"] = {"commits": HISTORY["commits"]}
    assert hive("meta").out.splitlines()[1].endswith("  new x")
    daemon.answers["inputs"] = {
        "inputs": [{"name": "base", "current": "debian-12", "locked_at": "", "url": ""}]
    }
    assert hive("inputs").out.splitlines()[1].split() == ["base", "debian-12", "-", "-"]
    daemon.answers["update-inputs"] = {"id": 9}
    assert "approval 9" in hive("inputs", "update", "base", "nix").out
    assert daemon.asked[-1] == ("update-inputs", {"names": ["base", "nix"]})
    assert hive("inputs", "update").code == 2
