"""Bar 10: whatever is sent instead of a pack is refused, costs little and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import pathlib
import re
import resource
import time
from collections.abc import AsyncGenerator, Iterator

import pytest

from hyperhive.adapters.process import host
from hyperhive.adapters.sandbox import one_shot
from hyperhive.domain import errors
from rigs import hostile_packs, import_bench, packs, sandbox_bench

pytestmark = pytest.mark.system
MEMORY = 256 * 1024**2
# Of those that tests/adapters/test_import_policy.py knows all, every sixth.
CASES = [each for each in hostile_packs.CASES if each not in hostile_packs.THOROUGH]
CASES += hostile_packs.THOROUGH[::6]
SEED = 20261123
PLAIN = hostile_packs.CASES[0]
SECONDS = float(os.environ.get("HIVE_FUZZ_SECONDS", "4"))
"""How long the fuzzer goes on; an hour finds more than a check needs."""


@pytest.fixture(scope="module")
def long_lived() -> Iterator[import_bench.ImportBench]:
    with sandbox_bench.private_home() as top:
        one_shots = one_shot.BubblewrapOneShots(
            host.HostProcesses(), scratch=top / "scratch", uid_base=640_000
        )
        yield import_bench.ImportBench(top, one_shots)


@pytest.fixture
def bench(long_lived: import_bench.ImportBench) -> Iterator[import_bench.ImportBench]:
    """The same place for all, made empty again after each."""
    yield long_lived
    long_lived.reset()


def _bring(
    bench: import_bench.ImportBench, sent: hostile_packs.Sent, case: hostile_packs.Case
) -> tuple[import_bench.Outcome, bool]:
    closed = False

    async def produce(ref: str) -> AsyncGenerator[bytes, None]:
        nonlocal closed
        stream = sent.stream()
        try:
            async for piece in stream:
                yield piece
        finally:
            await stream.aclose()
            closed = True

    outcome = asyncio.run(bench.bring(produce, sent.sha, case.limits))
    return outcome, closed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_pack(bench: import_bench.ImportBench, case: hostile_packs.Case) -> None:
    sent = case.build()
    outcome, closed = _bring(bench, sent, case)
    assert outcome.seconds < import_bench.WALL
    assert closed
    assert bench.left() == []
    if case.refused is None:
        assert outcome.commit is not None, outcome.text
        assert bench.refs() == {"refs/tags/proposal/1": sent.sha}
        reached = bench.ask("rev-list", "--objects", "--no-object-names", sent.sha).split()
        # Every git has the empty tree without storing it.
        assert bench.objects() == set(reached)
        bench.ask("fsck", "--strict", "--full")
        return
    assert outcome.error is not None
    assert re.search(case.refused, outcome.text), outcome.text
    assert outcome.error.kind is case.kind
    assert "".join(filter(str.isprintable, outcome.text)) == outcome.text
    assert hostile_packs.SECRET.decode() not in outcome.text
    assert len(outcome.text) < 2000
    assert (bench.refs(), bench.objects()) == ({}, set())


def test_no_pack_takes_much_memory(bench: import_bench.ImportBench) -> None:
    """The largest that may come, which no delta makes smaller, and the worst of the bombs."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pack = packs.Pack()
    rows = [
        ("100644", b"%02d" % n, pack.add(packs.BLOB, os.urandom(2**20 - 1), level=0))
        for n in range(31)
    ]
    sha = pack.commit(pack.tree(*rows))
    stream = hostile_packs.pieces(f"{sha}\n".encode(), *_cut(pack.build()))
    del pack
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome, _ = _bring(bench, hostile_packs.Sent(sha, stream), PLAIN)
    assert outcome.commit is not None, outcome.text
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - max(before, held)) * 1024 < 64 * 1024**2
    # A child begins as a copy of us, so no bound below our own size can hold.
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert children * 1024 <= max(MEMORY, after * 1024)


def _cut(data: bytes) -> Iterator[bytes]:
    return (data[begin : begin + 2**20] for begin in range(0, len(data), 2**20))


@pytest.mark.timeout(SECONDS + 60)
def test_mutated_packs(bench: import_bench.ImportBench) -> None:
    """What is accepted is whole and what was asked for; all else is refused in words."""
    begin, count, accepted = time.monotonic(), 0, 0
    for count, sent in enumerate(hostile_packs.mutations(SEED), 1):
        outcome, _ = _bring(bench, sent, PLAIN)
        told = f"seed {SEED}, mutation {count}: {outcome.text}"
        assert outcome.seconds < import_bench.WALL, told
        assert bench.left() == [], told
        if outcome.commit is not None:
            accepted += 1
            assert bench.refs() == {"refs/tags/proposal/1": sent.sha}, told
            bench.ask("fsck", "--strict", "--full")
            bench.reset()
        else:
            assert outcome.error is not None
            assert outcome.error.kind is errors.ErrorKind.INVALID, told
            assert bench.refs() == {}, told
        if time.monotonic() - begin > SECONDS:
            break
    assert count >= 5
    assert accepted < count


def test_a_tag_that_is_there_is_the_answer(bench: import_bench.ImportBench) -> None:
    pack, sha = hostile_packs.plain()
    first, _ = _bring(bench, hostile_packs.sent(pack, sha), PLAIN)
    again, closed = _bring(bench, hostile_packs.silence(), PLAIN)
    assert again.commit == first.commit
    assert not closed


def test_what_a_killed_daemon_left_goes_with_the_next_import(
    bench: import_bench.ImportBench,
) -> None:
    left = bench.run_dir / "0123456789abcdef"
    (left / "r.git" / "objects").mkdir(parents=True)
    (left / "link").symlink_to(pathlib.Path("/etc/passwd"))
    outcome, _ = _bring(bench, hostile_packs.a_line_only(), PLAIN)
    assert outcome.error is not None
    assert bench.left() == []
    assert pathlib.Path("/etc/passwd").exists()
