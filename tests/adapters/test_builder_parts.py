"""The parts of the layers builder that need no sandbox: texts, places, the shelf."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import stat

import pytest

from hyperhive import ports
from hyperhive.adapters.builder import bench, chain, generations, recipes, shelf, targets
from hyperhive.adapters.clock import manual
from hyperhive.domain import errors, ids


def make_shelf(top: pathlib.Path) -> shelf.Shelf:
    return shelf.Shelf(top / "layers", manual.ManualClock())


def put(place: pathlib.Path, text: str = "here\n") -> pathlib.Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


def put_layer(on: shelf.Shelf, key: str, text: str = "here\n") -> shelf.Layer:
    async def make() -> shelf.Layer:
        async with on.alone(key), on.workshop(key) as place:
            put(place / "root/opt/file", text)
            return on.keep(place / "root", key, "files", {"file": "1"}, {"more": [1]})

    return asyncio.run(make())


KEYS = [shelf.key_of(number) for number in range(4)]


# --- the shelf --------------------------------------------------------------------------


def test_a_layer_is_found_as_it_was_kept(tmp_path: pathlib.Path) -> None:
    on = make_shelf(tmp_path)
    assert on.find(KEYS[0]) is None
    made = put_layer(on, KEYS[0])
    assert make_shelf(tmp_path).find(KEYS[0]) == made
    assert (made.root / "opt/file").read_text() == "here\n"
    assert made.pins == {"file": "1"} and made.more == {"more": [1]}
    assert list((tmp_path / "layers/tmp").iterdir()) == []
    assert put_layer(on, KEYS[0], "other\n") == made
    assert (made.root / "opt/file").read_text() == "here\n"


def test_a_request_finds_what_it_was_resolved_to(tmp_path: pathlib.Path) -> None:
    on = make_shelf(tmp_path)
    made = put_layer(on, KEYS[0])
    on.resolve(KEYS[1], made)
    on.resolve(KEYS[0], made)
    assert on.find(KEYS[1]) == made
    assert on.forget({KEYS[0]}) == 0
    assert on.find(KEYS[1]) == made
    assert on.forget(()) > 0
    assert on.find(KEYS[0]) is None and on.find(KEYS[1]) is None
    assert not os.path.lexists(tmp_path / "layers" / KEYS[1])


def test_two_makers_of_one_layer_follow_each_other(tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        clock = manual.ManualClock()
        first, second = (shelf.Shelf(tmp_path / "layers", clock) for _ in range(2))
        order: list[str] = []

        async def wait() -> None:
            async with second.alone(KEYS[0]):
                order.append("second")

        async with asyncio.TaskGroup() as group:
            async with first.alone(KEYS[0]):
                task = group.create_task(wait())
                for _ in range(5):
                    await asyncio.sleep(0)
                async with second.alone(KEYS[1]):
                    order.append("another key")
                order.append("first")
            while not task.done():
                clock.advance(1.0)
                await asyncio.sleep(0)
        assert order == ["another key", "first", "second"]

    asyncio.run(story())


def test_sweeping_spares_what_is_being_made(tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        on = make_shelf(tmp_path)
        left = put(tmp_path / "layers/tmp" / KEYS[0] / "root/half").parents[1]
        async with on.alone(KEYS[1]), on.workshop(KEYS[1]) as place:
            make_shelf(tmp_path).sweep()
            assert place.is_dir()
            assert not left.exists()
            assert make_shelf(tmp_path).forget(()) == 0
        assert not place.exists()

    asyncio.run(story())


def test_nothing_in_a_layer_can_raise_rights(tmp_path: pathlib.Path) -> None:
    tree = tmp_path / "tree"
    program = put(tree / "bin/program")
    program.chmod(0o6755)
    (tree / "mail").mkdir()
    (tree / "mail").chmod(0o2775)
    outside = put(tmp_path / "outside")
    outside.chmod(0o4755)
    (tree / "link").symlink_to(outside)
    if os.geteuid() == 0:
        # vfs_cap_data (linux/capability.h): revision 2, cap_net_raw.
        capability = bytes.fromhex("0100000200200000000000000000000000000000")
        os.setxattr(program, "security.capability", capability)
    shelf.seal(tree)
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert stat.S_IMODE((tree / "mail").stat().st_mode) == 0o775
    assert os.listxattr(program) == []
    assert stat.S_IMODE(outside.stat().st_mode) == 0o4755


def test_tidying_does_not_leave_the_layer(tmp_path: pathlib.Path) -> None:
    outside = put(tmp_path / "outside/log/keep")
    tree = tmp_path / "tree"
    put(tree / "root/.bash_history")
    (tree / "var").symlink_to(tmp_path / "outside")
    chain.tidy(tree)
    assert outside.exists()
    assert not (tree / "root").exists()


def test_a_report_must_be_a_plain_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "gone"):
        with pytest.raises(errors.HiveError, match="cannot read the report"):
            bench.read_report(tmp_path / name)
    assert bench.read_report(tmp_path / "pipe") == ""
    assert bench.read_report(put(tmp_path / "file", "said")) == "said"


# --- texts ------------------------------------------------------------------------------


def test_what_apt_changed_is_pinned() -> None:
    before = "ii  dpkg 1.21\nii  jq 1.6\nrc  old 1\n"
    after = "ii  dpkg 1.22\nii  jq 1.6\nii  tree 2.1.0-1\nun  half\n"
    assert recipes.apt_pins(before, after) == {"dpkg": "1.22", "tree": "2.1.0-1"}
    pins = {"tree": "2.1.0-1", "libfoo": "3"}
    assert recipes.apt_words(("zip=9", "tree"), pins) == ["tree=2.1.0-1", "zip=9"]
    assert "Package: libfoo\nPin: version 3\nPin-Priority: 1001\n" in recipes.apt_preferences(pins)


def test_what_pip_froze_is_pinned() -> None:
    frozen = "six==1.17.0\nFoo.Bar==2\n# comment\nown @ file:///tmp/x.whl\n"
    pins = recipes.pip_pins(frozen)
    assert pins == {"Foo.Bar": "2", "own": "own @ file:///tmp/x.whl", "six": "1.17.0"}
    assert recipes.pip_constraints(pins) == "Foo.Bar==2\nsix==1.17.0\n"


def test_what_npm_locked_is_pinned_and_taken_again() -> None:
    assert recipes.npm_name("left-pad") == ("left-pad", "latest")
    assert recipes.npm_name("@a/b") == ("@a/b", "latest")
    assert recipes.npm_name("@a/b@1.2") == ("@a/b", "1.2")
    entries = {
        "": {"dependencies": {"left-pad": "latest"}, "name": "hive-agent"},
        "node_modules/left-pad": {"version": "1.3.0", "license": "WTFPL"},
        "node_modules/left-pad/node_modules/x": {"version": "2.0.0"},
    }
    pins, kept = recipes.npm_pins(json.dumps({"packages": entries}))
    assert pins == {"left-pad": "1.3.0", "left-pad/node_modules/x": "2.0.0"}
    assert kept["node_modules/left-pad"] == {"version": "1.3.0"}
    text, word = recipes.npm_lock(("left-pad",), kept)
    assert word == "ci"
    assert json.loads(text)["packages"]["node_modules/left-pad"]["version"] == "1.3.0"
    assert recipes.npm_lock(("left-pad", "other"), kept)[1] == "install"
    assert recipes.npm_lock(("left-pad",), {})[1] == "install"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (["Reading", "E: Unable to locate package x", "E: more"], "Unable to locate package x"),
        (["ERROR: No matching distribution", "note"], "No matching distribution"),
        (["npm error code E404", "npm error 404 Not Found"], "404 Not Found"),
        (["one", "two ", ""], "two"),
        ([], "it said nothing"),
    ],
)
def test_the_reason_of_a_failure_is_one_line(said: list[str], reason: str) -> None:
    assert recipes.reason(said) == reason


def test_a_log_line_is_plain_text() -> None:
    assert recipes.plain("\x1b[31mred\x1b[0m \x1b]0;title\x07end\x00") == "red end"
    assert recipes.plain("10%\r20%\r30%") == "30%"
    assert len(recipes.plain("x" * 9000)) == 2000


def test_the_world_is_told_from_the_request() -> None:
    assert recipes.is_unreachable(["W: Temporary failure resolving 'x'"])
    assert not recipes.is_unreachable(["E: Unable to locate package x"])
    assert recipes.is_stale(["E: Failed to fetch http://a/b.deb  404  Not Found"])


# --- files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "etc/motd", "/", "//etc/motd", "/etc/../motd", "/etc/motd/", "/etc//motd", "/state/x",
        "/state", "/proc/x", "/dev/null", "/run/hive/x", "/etc/passwd", "/etc/gitconfig",
        "/opt/hive/claude", "/opt/hive-pip/bin/x", "/tmp/x", "/etc/a\nb", "/etc/a\u202eb",
        "/" + "x" * 300, "/agents/x", "/etc/./motd",
    ],
)  # fmt: skip
def test_places_of_the_hive_are_refused(target: str) -> None:
    with pytest.raises(errors.HiveError) as caught:
        targets.check(target)
    assert caught.value.kind is errors.ErrorKind.INVALID


@pytest.mark.parametrize("target", ["/etc/motd", "/opt/tool/run.sh", "/usr/local/bin/x"])
def test_other_places_are_allowed(target: str) -> None:
    assert str(targets.check(target)) == target


def test_files_are_laid_over_what_is_below(tmp_path: pathlib.Path) -> None:
    source, tree, base = tmp_path / "commit", tmp_path / "tree", tmp_path / "base"
    put(source / "run.sh").chmod(0o755)
    put(source / "note").chmod(0o600)
    (base / "opt").mkdir(parents=True)
    (base / "opt").chmod(0o751)
    (base / "linked").symlink_to("/etc")
    (base / "srv").mkdir()
    tree.mkdir()
    targets.lay({"/opt/x/run": "run.sh", "/opt/note": "note"}, source, tree, [base])
    assert stat.S_IMODE((tree / "opt").stat().st_mode) == 0o751
    assert stat.S_IMODE((tree / "opt/x/run").stat().st_mode) == 0o755
    assert stat.S_IMODE((tree / "opt/note").stat().st_mode) == 0o644
    for target in ("/linked/x", "/srv"):
        with pytest.raises(errors.HiveError, match="cannot put a file"):
            targets.lay({target: "note"}, source, tree, [base])
    (source / "trap").symlink_to("/etc/hostname")
    for name in ("gone", "trap", "../base/x", "/etc/hostname"):
        with pytest.raises(errors.HiveError, match="has no such file"):
            targets.find(source, name)


# --- generations ------------------------------------------------------------------------


def test_a_generation_whose_layer_is_gone_is_not_found(tmp_path: pathlib.Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    kept = generations.Generations(tmp_path / "generations")
    made = generations.named(
        ports.Generation(ids.GenerationId(""), "x", lowers=(layer,), lock={"pip": {"six": "1"}})
    )
    kept.keep(made)
    assert kept.find(made.id) == made
    assert kept.find(ids.GenerationId("../../etc/passwd")) is None
    layer.rmdir()
    assert kept.find(made.id) is None
