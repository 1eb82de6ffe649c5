"""What a commit must be to become a proposal: every rule, its words, and what stays allowed."""

from __future__ import annotations

import asyncio
import pathlib
import re
import time

import pytest

from hyperhive.adapters.config_repo import escapes, importer, objects, policy, secret_patterns
from hyperhive.domain import errors
from rigs import direct_one_shots, hostile_packs, import_bench, packs


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> import_bench.ImportBench:
    return import_bench.ImportBench(tmp_path, direct_one_shots.DirectOneShots())


def _bring(
    bench: import_bench.ImportBench,
    sent: hostile_packs.Sent,
    ref: str | None = None,
    limits: policy.Limits = importer.LIMITS,
    approval: int = 1,
) -> import_bench.Outcome:
    produce = lambda _ref: sent.stream()  # noqa: E731
    return asyncio.run(bench.bring(produce, ref or sent.sha, limits, approval))


@pytest.mark.parametrize("case", hostile_packs.THOROUGH, ids=lambda case: case.name)
def test_a_name_or_mode_is_refused(
    bench: import_bench.ImportBench, case: hostile_packs.Case
) -> None:
    outcome = _bring(bench, case.build())
    assert case.refused is not None
    assert outcome.error is not None
    assert re.search(case.refused, outcome.text), outcome.text
    assert outcome.error.kind is errors.ErrorKind.INVALID
    assert outcome.text.isprintable()
    assert (bench.refs(), bench.objects(), bench.left()) == ({}, set(), [])


def test_the_commit_is_read_as_it_is(bench: import_bench.ImportBench) -> None:
    pack = packs.Pack()
    first = pack.commit(pack.files(b"a"))
    tree = pack.files(b"a", b"b")
    sha = pack.commit(tree, first, message=b"One\n\n\xff two\n")
    commit = _bring(bench, hostile_packs.sent(pack, sha), sha[:7]).commit
    assert commit is not None
    assert (commit.sha, commit.tree, commit.parents) == (sha, tree, (first,))
    assert (commit.author, commit.message) == ("Alice <alice@example.org>", "One\n\n\ufffd two\n")
    assert commit.at.isoformat() == "2023-11-14T22:13:20+00:00"
    assert bench.refs() == {"refs/tags/proposal/1": sha}


def test_what_is_there_is_not_stored_twice(bench: import_bench.ImportBench) -> None:
    pack = packs.Pack()
    first = pack.commit(pack.files(b"a"))
    _bring(bench, hostile_packs.sent(pack, first))
    before = bench.objects()
    second = pack.commit(pack.files(b"a", b"b"), first)
    assert _bring(bench, hostile_packs.sent(pack, second), approval=2).commit is not None
    found = sorted(path.stat().st_size for path in bench.target.rglob("*.idx"))
    assert len(found) == 2
    assert len(bench.objects() - before) == 2  # a tree and a commit
    assert _bring(bench, hostile_packs.sent(pack, second), approval=3).commit is not None
    assert len(list(bench.target.rglob("*.idx"))) == 2
    assert set(bench.refs()) == {f"refs/tags/proposal/{number}" for number in (1, 2, 3)}
    bench.ask("fsck", "--strict", "--full")


@pytest.mark.parametrize("ref", ["main", "abc123", "A" * 40, "1" * 41, "--all", "HEAD~1", ""])
def test_only_ids_are_taken(bench: import_bench.ImportBench, ref: str) -> None:
    sent = hostile_packs.sent(*hostile_packs.plain())
    outcome = asyncio.run(bench.bring(lambda _: sent.stream(), ref))
    assert outcome.error is not None
    assert outcome.error.kind is errors.ErrorKind.INVALID


def test_the_command_in_the_sandbox_gets_nothing_of_ours(bench: import_bench.ImportBench) -> None:
    _bring(bench, hostile_packs.sent(*hostile_packs.plain()))
    assert isinstance(bench.one_shots, direct_one_shots.DirectOneShots)
    orders = bench.one_shots.orders
    assert [order.argv[4] for order in orders] == ["index-pack", "cat-file", "cat-file"]
    for order in orders:
        assert not order.network
        assert not order.as_root
        assert order.uid is None
        assert all(bench.run_dir in bind.source.parents for bind in order.binds)
        assert order.env["GIT_CONFIG_GLOBAL"] == "/dev/null"
    assert [[bind.writable for bind in order.binds] for order in orders] == [
        [False, True], [False, False], [False, False],
    ]  # fmt: skip


def test_a_lying_sandbox_is_found_out(tmp_path: pathlib.Path) -> None:
    """Another content under the name of an object, as a git that was taken over could print it."""

    class Liar(direct_one_shots.DirectOneShots):
        async def run(self, order, *, stdout=None, **more):  # type: ignore[no-untyped-def]
            result = await super().run(order, stdout=stdout, **more)
            if stdout is not None:
                stdout.write_bytes(stdout.read_bytes().replace(b"hello\n", b"HELLO\n"))
            return result

    bench = import_bench.ImportBench(tmp_path, Liar())
    outcome = _bring(bench, hostile_packs.sent(*hostile_packs.plain()))
    assert "another content than its name says" in outcome.text
    assert (bench.refs(), bench.objects()) == ({}, set())


KEYS = {
    "a private key": b"-----BEGIN OPENSSH " + b"PRIVATE KEY-----",
    "a GitHub token": b"ghp_" + b"a1B2" * 9,
    "a GitLab token": b"glpat-" + b"a1B2" * 5,
    "an AWS access key": b"AKIA" + b"IOSF" * 4,
    "an OpenAI key": b"sk-proj-" + b"a1B2" * 10,
    "a Google API key": b"AIza" + b"a1B2_" * 7,
    "a Slack token": b"xoxb-" + b"12345678-" * 3,
    "a Stripe key": b"sk_live_" + b"a1B2" * 6,
    "an npm token": b"npm_" + b"a1B2" * 9,
    "a Telegram bot token": b"123456789:AA" + b"a1B2_" * 7,
    "a JSON web token": b"eyJhbGciOiJIUzI1NiJ9." + b"eyJzdWIiOiIxMjM0In0." + b"a1B2" * 8,
    "an Authorization header": b"Authorization: Bearer " + b"a1B2" * 8,
    "a password in a URL": b"https://alice:correct-horse@example.org/",
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_secret_is_recognised(kind: str) -> None:
    text = b"first = 1\nsecond = '" + KEYS[kind] + b"'\n"
    assert secret_patterns.find(text) == kind
    assert secret_patterns.find(text.decode().encode("utf-16-le")) == kind


@pytest.mark.parametrize(
    "text",
    [
        b"key = 'sk-ant-...'", b"token = $GITHUB_TOKEN", b"https://user:${PASSWORD}@example.org",
        b"https://example.org/a:b@c", b"https://user:<password>@example.org", b"AKIAEXAMPLE",
        b"Authorization: Bearer $TOKEN", b"-----BEGIN CERTIFICATE-----", b"ghp_short",
        b"-----BEGIN PUBLIC KEY-----", b"sha256:" + b"ab" * 32, b"task-ant-hill", b"",
    ],
)  # fmt: skip
def test_what_is_no_secret_passes(text: bytes) -> None:
    assert secret_patterns.find(text) is None


def test_searching_takes_time_in_proportion() -> None:
    """The worst texts that were thought of: beginnings of secrets without an end."""
    for literal in (
        b"-----BEGIN A B C ",
        b".eyJ",
        b"://",
        b"sk-",
        b"uthorization: bearer ",
        b":AA",
    ):
        text = literal * (2**20 // len(literal))
        begin = time.monotonic()
        secret_patterns.find(text)
        assert time.monotonic() - begin < 2.0, literal


def test_escapes_are_visible_and_unambiguous() -> None:
    texts = ["a\x1b[31m", "a\u202eb", "a\\u{202e}b", "ü", "u\u0308", "a\nb", "\ue000", "a\u200b"]
    shown = [escapes.visible(text) for text in texts]
    assert len(set(shown)) == len(texts)
    assert all(each.isprintable() for each in shown)
    assert shown[0] == r"a\u{001b}[31m"
    assert escapes.visible(b"\xff\x1b") == r"\xff\u{001b}"
    assert escapes.visible("a" * 300, 10) == "a" * 10 + "…"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"tree x\n\n", b"tree " + b"1" * 40, b"tree " + b"1" * 40 + b"\nparent x\n\n",
        b"tree " + b"1" * 40 + b"\nauthor A <a> 1 +0000\n\n",
        b"tree " + b"1" * 40 + b"\nauthor A <a> 1 +0000\ncommitter A <a> x\n\n",
    ],
)  # fmt: skip
def test_a_broken_commit_is_said_to_be_one(content: bytes) -> None:
    with pytest.raises(objects.BrokenError):
        objects.parse_commit("1" * 40, content)
