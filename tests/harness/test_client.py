"""The client against a daemon that comes, goes and misbehaves."""

from __future__ import annotations

import json
import pathlib
import queue
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from hyperhive.harness import client, reactor
from hyperhive.wire import agent_protocol as protocol
from rigs.harness_daemon import FakeDaemon, plan


class Rig:
    """A client on a reactor in a thread; answers and notes come in queues."""

    def __init__(self, path: pathlib.Path) -> None:
        self.loop = reactor.Reactor()
        self.answers: queue.Queue[Any] = queue.Queue()
        self.notes: queue.Queue[str] = queue.Queue()
        self.fatal: list[client.Fatal] = []
        self.client = client.Client(self.loop, str(path), "boot-1", self.notes.put)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.loop.wake(self.client.start)

    def _run(self) -> None:
        try:
            self.loop.run()
        except client.Fatal as error:
            self.fatal.append(error)
        self.client.close()

    def call(self, method: str, retry: bool = True, **params: Any) -> None:
        def ask() -> None:
            self.client.call(
                method,
                params,
                lambda result: self.answers.put(result),
                lambda kind, reason: self.answers.put((kind, reason)),
                retry,
            )

        self.loop.wake(ask)

    def next(self) -> Any:
        return self.answers.get(timeout=10)

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()

    def close(self) -> None:
        if self._thread.is_alive():
            self.loop.wake(self.loop.stop)
            self.join()
        self.loop.close()


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "hive.sock"


@pytest.fixture
def daemon(path: pathlib.Path) -> Iterator[FakeDaemon]:
    made = FakeDaemon(path)
    yield made
    made.hang_up()


@pytest.fixture
def rig(path: pathlib.Path) -> Iterator[Rig]:
    made = Rig(path)
    yield made
    made.close()


def test_calls_wait_for_a_daemon_that_comes_later(rig: Rig, daemon: FakeDaemon) -> None:
    rig.call("state", state="idle", note="")
    assert "cannot reach the hive" in rig.notes.get(timeout=10)
    daemon.listen()
    assert rig.next() == {}
    assert daemon.hellos == ["boot-1"]
    assert "the hive is back after" in rig.notes.get(timeout=10)
    assert rig.client.agent["name"] == "coder"


def test_answers_come_in_any_order(daemon: FakeDaemon, rig: Rig) -> None:
    daemon.listen()
    rig.call("take", boot="boot-1")
    rig.call("state", state="idle", note="")
    assert rig.next() == {}, "a parked call holds nothing up"
    given = plan("x")
    daemon.give(given)
    assert rig.next() == given


def test_a_daemon_that_vanishes_in_mid_call_gets_it_again(daemon: FakeDaemon, rig: Rig) -> None:
    daemon.listen()
    rig.call("take", boot="boot-1")
    daemon.wait(lambda: daemon.hellos)
    for _ in range(3):
        greeted = len(daemon.hellos)
        daemon.hang_up()
        daemon.listen()
        daemon.wait(lambda greeted=greeted: len(daemon.hellos) > greeted)
    given = plan("x")
    daemon.give(given)
    assert rig.next() == given
    assert set(daemon.hellos) == {"boot-1"}
    assert rig.answers.empty(), "answered once, however often it was sent"


def test_what_is_unavailable_is_tried_again_and_what_is_wrong_is_not(
    daemon: FakeDaemon, rig: Rig
) -> None:
    daemon.refuse["state"] = ("conflict", "cannot do it")
    daemon.listen()
    rig.call("state", state="idle", note="")
    assert rig.next() == ("conflict", "cannot do it")
    daemon.refuse["state"] = ("unavailable", "the disk is full")
    rig.call("state", retry=False, state="idle", note="")
    assert rig.next() == ("unavailable", "the disk is full")
    rig.call("state", state="idle", note="again")
    daemon.refuse.clear()
    assert rig.next() == {}


def test_forgotten_calls_do_not_pile_up_in_the_daemon(daemon: FakeDaemon, rig: Rig) -> None:
    daemon.listen()
    rig.call("take", boot="boot-1")
    rig.call("state", state="idle", note="")
    assert rig.next() == {}
    while not rig.notes.empty():
        rig.notes.get()

    def ask_and_forget() -> None:
        rig.client.forget(rig.client.call("orders", {"turn": "t"}, print, print))

    for _ in range(client.ABANDONED_MAX):
        rig.loop.wake(ask_and_forget)
    daemon.wait(lambda: len(daemon.hellos) == 2)
    given = plan("x")
    daemon.give(given)
    assert rig.next() == given, "what is still wanted is asked again on the new connection"
    assert rig.notes.empty()


@pytest.mark.parametrize("kind", ["invalid", "conflict"])
def test_another_protocol_is_fatal(daemon: FakeDaemon, rig: Rig, kind: str) -> None:
    daemon.refuse["hello"] = (kind, "protocol 2 is spoken here")
    daemon.listen()
    rig.join()
    assert "protocol 2 is spoken here" in str(rig.fatal[0])


@pytest.mark.parametrize("garbage", [b"hello?\n", b"[1]\n", b"\xff\xfe\n", b"{" * 5000 + b"\n"])
def test_a_daemon_that_talks_nonsense_is_left_and_tried_again(
    path: pathlib.Path, rig: Rig, garbage: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        for _ in range(2):
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                assert json.loads(lines.readline())["method"] == "hello"
                connection.sendall(garbage)
                assert lines.readline() == b"", "it hung up"


def test_an_endless_line_does_not_fill_the_memory(path: pathlib.Path, rig: Rig) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        connection, _ = listener.accept()
        with connection, pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(2 * protocol.LINE_MAX // 65536):
                connection.sendall(b"x" * 65536)


def test_large_messages_pass_both_ways(daemon: FakeDaemon, rig: Rig) -> None:
    daemon.listen()
    body = "é" * 300_000
    given = plan(body)
    daemon.give(given)
    rig.call("take", boot="boot-1")
    assert rig.next()["messages"][0]["body"] == body
    event = {"turn": "t", "kind": "text", "data": {"text": body}}
    rig.call("events", boot="boot-1", first=1, events=[event])
    assert rig.next() == {"next": 2}
    assert daemon.events == [event]


class _Lines:
    """A daemon by hand: one connection at a time, one line at a time."""

    def __init__(self, path: pathlib.Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.settimeout(10)
        self._listener.bind(str(path))
        self._listener.listen(8)

    def greet(self) -> tuple[socket.socket, Any]:
        """The next connection, greeted; with its file of lines."""
        connection, _ = self._listener.accept()
        connection.settimeout(10)
        lines = connection.makefile("rb")
        first = json.loads(lines.readline())
        assert (first["id"], first["method"]) == (0, "hello"), first
        agent = {"id": "a", "name": "coder", "role": "agent"}
        connection.sendall(protocol.encode({"id": 0, "result": {"agent": agent}}))
        return connection, lines

    def close(self) -> None:
        self._listener.close()


def test_a_daemon_that_leaves_as_it_greets_is_greeted_again_first(
    path: pathlib.Path, rig: Rig
) -> None:
    for note in ("one", "two", "three"):
        rig.call("state", state="idle", note=note)
    daemon = _Lines(path)
    for _ in range(4):
        connection, lines = daemon.greet()
        # Both, or the file keeps the connection open.
        lines.close()
        connection.close()
    connection, lines = daemon.greet()
    asked = [json.loads(lines.readline()) for _ in range(3)]
    assert sorted(line["params"]["note"] for line in asked) == ["one", "three", "two"]
    lines.close()
    connection.close()
    daemon.close()


def test_a_call_that_waits_to_be_repeated_is_not_sent_twice_on_a_new_connection(
    path: pathlib.Path, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAUSES", (0.0, 0.0, 0.0, 0.3))
    daemon = _Lines(path)
    rig.call("state", state="idle", note="once")
    connection, lines = daemon.greet()
    number = json.loads(lines.readline())["id"]
    refusal = {"kind": "unavailable", "message": "the disk is full"}
    connection.sendall(protocol.encode({"id": number, "error": refusal}))
    lines.close()
    connection.close()
    connection, lines = daemon.greet()
    assert json.loads(lines.readline())["id"] == number
    connection.settimeout(0.6)
    with pytest.raises(TimeoutError):
        lines.readline()
    connection.close()
    daemon.close()
