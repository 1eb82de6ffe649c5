"""The daemon's log: one object a line, which no text can break out of."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest
import structlog

from hyperhive.adapters.json_log import lines

Open = Callable[[], structlog.typing.FilteringBoundLogger]


@pytest.fixture
def open_log(tmp_path):
    """Opens the log; what it changes of the process is put back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    opened: list[logging.Handler] = []

    def open_it():
        log = lines.open_log(tmp_path / "log" / "daemon.log")
        opened.extend(root.handlers)
        opened.extend(log._logger.handlers)
        return log

    yield open_it
    root.handlers[:] = handlers
    root.setLevel(level)
    for handler in opened:
        handler.close()


def written(tmp_path) -> list[dict]:
    data = (tmp_path / "log" / "daemon.log").read_bytes()
    assert data.isascii()
    return [json.loads(line) for line in data.decode().splitlines()]


def test_an_event_is_one_line_with_level_and_time(open_log, tmp_path):
    open_log().info("started", agent="bob", pid=7)
    (line,) = written(tmp_path)
    assert (line["event"], line["level"], line["agent"], line["pid"]) == (
        "started", "info", "bob", 7,
    )  # fmt: skip
    assert line["timestamp"].endswith("Z")
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "text",
    [
        'x"}\n{"event": "forged"}',
        "\x1b]0;title\x07\x1b[2J",
        "line\r\u2028separator\u2029\x85",
        "\x00 \udcff \U0001f41d",
    ],
)
def test_no_text_forges_a_line_or_drives_a_terminal(open_log, tmp_path, text):
    open_log().warning("said", text=text)
    data = (tmp_path / "log" / "daemon.log").read_bytes()
    assert data.count(b"\n") == 1
    assert all(byte >= 0x20 for byte in data[:-1])
    (line,) = written(tmp_path)
    assert (line["event"], line["text"]) == ("said", text)


def test_debug_is_not_kept(open_log, tmp_path):
    log = open_log()
    log.debug("noise")
    log.info("signal")
    assert [line["event"] for line in written(tmp_path)] == ["signal"]


def test_a_traceback_comes_without_the_values_of_its_frames(open_log, tmp_path):
    def fail(secret: str) -> None:
        raise ZeroDivisionError("oops")

    log = open_log()
    try:
        fail("sk-very-secret")
    except ZeroDivisionError:
        log.exception("a task failed")
    (line,) = written(tmp_path)
    assert line["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert "sk-very-secret" not in json.dumps(line)


def test_what_libraries_warn_of_lands_in_the_same_file(open_log, tmp_path):
    open_log().info("first")
    logging.getLogger("some.library").warning("careful: %s", "x\ny")
    logging.getLogger("some.library").info("chatter")
    first, second = written(tmp_path)
    assert first["event"] == "first"
    assert (second["event"], second["level"], second["logger"]) == (
        "careful: x\ny", "warning", "some.library",
    )  # fmt: skip


def test_what_is_not_json_is_written_by_its_name(open_log, tmp_path):
    open_log().info("odd", thing={1, 2}, path=tmp_path)
    (line,) = written(tmp_path)
    assert line["thing"] == "{1, 2}"


def test_opening_again_appends_and_full_files_are_put_aside(open_log, tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "SIZE", 400)
    open_log().info("one")
    log = open_log()
    for number in range(40):
        log.info("more", number=number)
    names = sorted(path.name for path in (tmp_path / "log").iterdir())
    assert names == ["daemon.log", *(f"daemon.log.{n}" for n in range(1, lines.KEPT + 1))]
    assert written(tmp_path)[-1]["number"] == 39
