"""`hive questions`, `hive answer` and `hive cancel-question` as a person sees them."""

from __future__ import annotations

from typing import Any

OPEN = {
    "id": 3, "from": "coder", "to": "operator", "question": "Delete\nit\u202e?",
    "options": ["yes", "no"], "multi": False, "asked_at": "2026-11-23T08:15:00.123Z",
    "expires_at": "2026-11-23T09:15:00.123Z", "state": "open", "answer": "", "answered_by": "",
    "answered_via": "", "changed_at": "2026-11-23T08:15:00.123Z",
}  # fmt: skip
ENDED = {
    **OPEN, "id": 2, "to": "tester", "state": "answered", "answer": "no, never",
    "answered_by": "tester", "answered_via": "agent socket", "question": "Now?", "options": [],
}  # fmt: skip


def test_what_waits_is_listed_with_its_options(hive: Any, daemon: Any) -> None:
    daemon.answers["questions"] = {"questions": [OPEN, ENDED]}
    done = hive("questions")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].startswith("3  coder  ")
    assert " · open · ends in " in lines[0]
    assert lines[1:5] == ["    Delete", "    it\\u{202e}?", "      - yes", "      - no"]
    assert "Now?" not in done.out
    assert hive("questions", "--json").json == {"questions": [OPEN]}
    done = hive("questions", "--all", "-n", "5")
    assert "2  coder asks tester" in done.out
    assert "    > no, never\n      tester, agent socket" in done.out
    assert daemon.asked[-1] == ("questions", {"limit": 5})


def test_nothing_to_answer_is_said(hive: Any, daemon: Any) -> None:
    daemon.answers["questions"] = {"questions": []}
    assert hive("questions").out == "no question waits for an answer\n"
    assert hive("questions", "--all").out == "no questions\n"
    assert hive("questions", "--json").json == {"questions": []}


def test_an_answer_is_words_options_or_both(hive: Any, daemon: Any) -> None:
    daemon.answers["answer"] = {**OPEN, "state": "answered"}
    assert hive("answer", "3", "only", "the", "old", "one").out == (
        "question 3 is answered; coder is told\n"
    )
    hive("answer", "3", "--pick", "yes", "--pick", "no", "--json")
    hive("answer", "3", "-", stdin="grün\nund gut\n")
    hive("answer", "3", "--pick", "yes", "but", "later")
    assert [given for _, given in daemon.asked] == [
        {"id": 3, "picks": [], "text": "only the old one"},
        {"id": 3, "picks": ["yes", "no"], "text": ""},
        {"id": 3, "picks": [], "text": "grün\nund gut\n"},
        {"id": 3, "picks": ["yes"], "text": "but later"},
    ]
    assert hive("answer", "three", "x").code == 2


def test_a_refused_answer_has_the_exit_code_of_a_conflict(hive: Any, daemon: Any) -> None:
    words = "cannot answer question 3: it is expired"
    daemon.errors["answer"] = {"kind": "conflict", "message": words}
    done = hive("answer", "3", "x")
    assert (done.code, done.out, done.err) == (6, "", f"hive: {words}\n")


def test_a_question_is_cancelled(hive: Any, daemon: Any) -> None:
    daemon.answers["cancel-question"] = {**OPEN, "state": "cancelled"}
    assert hive("cancel-question", "3").out == "question 3 is cancelled\n"
    assert daemon.asked == [("cancel-question", {"id": 3})]
