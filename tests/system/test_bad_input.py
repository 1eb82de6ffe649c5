"""Bad input at every door of a real hive: a clear refusal, no bug, nothing lost."""

from __future__ import annotations

import http.client
import json
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.system import hive_process as hives

from hyperhive.cli import client
from hyperhive.domain import errors, messages

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

FULL = messages.BODY_MAX


@pytest.fixture(scope="module")
def hive(
    tmp_path_factory: pytest.TempPathFactory, test_cache: pathlib.Path
) -> Iterator[hives.HiveProcess]:
    """A running hive whose manager is stopped, so that mail stays where it is."""
    home = tmp_path_factory.mktemp("input") / "home"
    with hives.hive(home, test_cache, sandbox="host") as process:
        process.start("--demo")
        process.ask("stop", "manager")
        yield process
        # Whatever came in, nothing of it was a bug, and the hive goes on.
        assert process.call("send", to="manager", body="still here")["id"]
        assert '"level": "error"' not in (home / "log" / "daemon.log").read_text()
        assert "Traceback" not in process.errors.read_text()
    assert hives.processes_of(home) == []


BAD_COMMANDS = [
    (("send", "Manager", "x"), 5, "try manager"),
    (("send", "../manager", "x"), 5, "nobody has that name"),
    (("send", "manager\n", "x"), 5, "nobody has that name"),
    (("send", "nobody-here", "x"), 5, "nobody-here"),
    (("send", "system", "x"), 2, "system"),
    (("send", "manager", ""), 2, "empty"),
    (("send", "manager", "x", "--key", "k" * 500), 2, "key"),
    (("send", "manager", "x", "--reply-to", "99999"), 5, "99999"),
    (("send", "manager", "x", "--reply-to", "-1"), 2, "in_reply_to"),
    (("send", "manager"), 2, "BODY"),
    (("spawn", "a--b"), 2, "a--b"),
    (("spawn", "root"), 2, "reserved"),
    (("spawn", "x" * 33), 2, "32"),
    (("spawn", "ünicode"), 2, "ünicode"),
    (("start", "ghost"), 5, "ghost"),
    (("approve", "7", "--digest", "0"), 5, "7"),
    (("approve", "seven"), 2, "seven"),
    (("approve", "99999999999999999999", "--digest", "0"), 2, "id"),
    (("deny", "7", "--note", "n" * 100_000), 2, "note"),
    (("inbox", "--limit", "0"), 2, "limit"),
    (("requeue", "12345"), 5, "12345"),
    (("frobnicate",), 2, "frobnicate"),
    (("list", "--frobnicate"), 2, "--frobnicate"),
]


@pytest.mark.parametrize(("words", "code", "named"), BAD_COMMANDS)
def test_a_bad_command_is_refused_by_name(hive, words, code, named):
    done = hive.run(*words)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    told = json.loads(hive.run(*words, "--json").stderr.splitlines()[-1])["error"]
    assert told["kind"] in ("invalid", "not_found")


def test_a_body_of_exactly_the_limit_is_kept_and_one_byte_more_is_refused(hive):
    for body in ("x" * FULL, "ü" * (FULL // 2)):
        sent = json.loads(hive.run("send", "manager", "-", "--json", stdin=body).stdout)
        [kept] = [
            row for row in hive.call("messages", limit=5)["messages"] if row["id"] == sent["id"]
        ]
        assert kept["body"] == body
    for body in ("x" * (FULL + 1), "ü" * (FULL // 2) + "x", "y" * 300 * 1024):
        done = hive.run("send", "manager", "-", stdin=body)
        assert done.returncode == 2
        assert str(FULL) in done.stderr or "256" in done.stderr, done.stderr


def test_text_that_cannot_be_kept_is_refused(hive):
    for body in ("a\x00b", "\ud800"):
        with pytest.raises(errors.HiveError, match="cannot") as refused:
            hive.call("send", to="manager", body=body)
        assert refused.value.kind is errors.ErrorKind.INVALID
    done = hive.run("send", "manager", "-", stdin="a\x00b")
    assert done.returncode == 2


LINES = [
    b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"id": 1', b"x" * 5_000_000,
    b'{"id": 1, "version": 1, "verb": "frobnicate"}', b'{"id": 1, "version": 2, "verb": "list"}',
    b'{"id": 1, "version": "1", "verb": "list"}', b'{"id": 1, "verb": "list"}',
    b'{"id": NaN, "version": 1, "verb": "list"}', b'{"version": 1, "verb": "list"}',
    b'{"id": 1, "version": 1, "verb": "list", "args": []}',
    b'{"id": 1, "version": 1, "verb": "list", "args": {"x": 1}}',
    b'{"id": 1, "version": 1, "verb": "send", "args": {"to": "manager"}}',
    b'{"id": 1, "version": 1, "verb": "send", "args": {"to": ["manager"], "body": "x"}}',
    b'{"id": 1, "version": 1, "verb": "send", "args": {"to": "manager", "body": 7}}',
    b'{"id": 1, "version": 1, "verb": "send", "args": {"to": "manager", "body": "\\ud800"}}',
    b'{"id": 1, "version": 1, "verb": "send", "args": "\\ud800"}',
    b'{"id": 1, "version": 1, "verb": "inbox", "args": {"limit": 1e400}}',
    b'{"id": 1, "version": 1, "verb": "inbox", "args": {"limit": 10000000000000000000000}}',
    b'{"id": 1, "version": 1, "verb": "inbox", "args": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
    b"[" * 1_000_000, b"GET / HTTP/1.1", b'{"id": 1, "id": 2, "version": 1, "verb": "list"}',
]  # fmt: skip


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_a_bad_line_on_the_admin_socket_is_answered_and_the_next_one_served(hive, line):
    with socket.socket(socket.AF_UNIX) as peer, peer.makefile("rb") as reader:
        peer.settimeout(10)
        peer.connect(str(hive.home / "run" / "admin.sock"))
        peer.sendall(line + b"\n")
        if line:
            answer = json.loads(reader.readline())
            assert answer["error"]["kind"] in ("invalid", "not_found"), answer
            assert answer["error"]["message"].startswith("cannot ")
        peer.sendall(b'{"id": 5, "version": 1, "verb": "version"}\n')
        assert "result" in json.loads(reader.readline())


class Page:
    """A signed-in client of the page that can send what no browser would."""

    def __init__(self, hive: hives.HiveProcess) -> None:
        self._host = hive.ready["url"].removeprefix("http://")
        self.headers = {
            "Origin": hive.ready["url"], "X-Hive": "page", "Sec-Fetch-Site": "same-origin",
            "Content-Type": "application/json",
        }  # fmt: skip
        token = hive.call("sign-in-link")["sign_in"].partition("#")[2]
        status, _, cookie = self.ask("POST", "/api/sign-in", json.dumps({"token": token}).encode())
        assert status == 200
        self.headers["Cookie"] = cookie.partition(";")[0]

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
        """Status, text and cookie of the answer to one request."""
        connection = http.client.HTTPConnection(self._host, timeout=10)
        try:
            connection.request(method, path, body or None, {**self.headers, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers.get("Set-Cookie", "")
        finally:
            connection.close()


@pytest.fixture(scope="module")
def page(hive: hives.HiveProcess) -> Page:
    """Signed in."""
    return Page(hive)


def _bodies() -> list[tuple[str, bytes, int]]:
    def send(**given: Any) -> bytes:
        return json.dumps({"to": "manager", "body": "x", **given}).encode()

    return [
        ("send", b"", 400), ("send", b"{", 400), ("send", b"[]", 400), ("send", b"\xff", 400),
        ("send", b'{"to": NaN}', 400), ("send", b"[" * 100_000, 400), ("send", b"{}", 400),
        ("send", send(to="ghost"), 404), ("send", send(to="Ghost"), 404),
        ("send", send(body="\x00"), 400), ("send", send(body="\ud800"), 400),
        ("send", send(body=["x"]), 400), ("send", send(extra=1), 400),
        ("send", send(body="x" * 300 * 1024), 400), ("send", send(body="x" * 2**21), 413),
        ("frobnicate", b"{}", 404), ("approve", b'{"id": 1, "digest": "x"}', 404),
        ("approve", b'{"id": -1, "digest": "x"}', 400), ("spawn", b'{"name": "a b"}', 400),
        ("shutdown", b'{"agents": "yes"}', 400),
    ]  # fmt: skip


@pytest.mark.parametrize(("verb", "body", "status"), _bodies())
def test_a_bad_write_to_the_page_is_a_problem_with_a_reason(page, verb, body, status):
    got, text, _ = page.ask("POST", f"/api/actions/{verb}", body)
    assert got == status, text
    assert json.loads(text)["detail"].startswith("cannot ")


def test_a_write_of_the_largest_body_goes_through_the_page(hive, page):
    body = json.dumps({"to": "manager", "body": "é" * (FULL // 2)}).encode()
    status, text, _ = page.ask("POST", "/api/actions/send", body)
    assert status == 200, text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/agents/..%2f..%2fstore/history", 400), ("/api/agents/ghost/history", 404),
        ("/api/agents/manager/history?before=x", 400), ("/static/../../etc/passwd", 404),
        ("/static/..%2f..%2fsettings.py", 404), ("/api/nothing", 404), ("//", 404),
        ("/api/agents/manager/log?lines=99999999", 400), ("/api/live?after=-1", 400),
        ("/%00", 404), ("/%ff", 404), ("/" + "a" * 7000, 404),
    ],
)  # fmt: skip
def test_a_bad_read_of_the_page_is_refused(page, path, status):
    got, text, _ = page.ask("GET", path)
    assert got == status, text


def test_what_is_not_http_hurts_nobody(hive, page):
    for raw in (
        b"\x00" * 4096, b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ):  # fmt: skip
        host, port = hive.ready["url"].removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as peer:
            peer.sendall(raw)
            peer.shutdown(socket.SHUT_WR)
            assert peer.recv(4096)[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.0 400", b"HTTP/1.1 403")
    assert page.ask("GET", "/api/snapshot")[0] == 200


def test_an_answer_may_be_any_size_for_the_command_line(hive):
    for number in range(8):
        hive.call("send", to="manager", body=f"{number}" * 200_000)
    rows = client.AdminClient(hive.home).call("messages", limit=1000)["messages"]
    assert len(rows) >= 8
