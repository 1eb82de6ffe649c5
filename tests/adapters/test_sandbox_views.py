"""What is bound where on each root, as options of bwrap."""

from __future__ import annotations

import pathlib

import pytest

from hyperhive import ports
from hyperhive.adapters.sandbox import views
from hyperhive.domain import errors, ids


def spec(tmp_path: pathlib.Path, *targets: str) -> ports.SandboxSpec:
    source = tmp_path / "claude"
    source.write_text("")
    return ports.SandboxSpec(
        agent=ids.AgentId("0123456789ab"),
        name="coder",
        uid=1000,
        argv=("/bin/true",),
        env={},
        cwd="/",
        binds=tuple(ports.Bind(source, target) for target in targets),
        limits=ports.Limits(),
        log=tmp_path / "log",
        run_dir=tmp_path / "run",
    )


def base(tmp_path: pathlib.Path) -> pathlib.Path:
    root = tmp_path / "base"
    for place in views.MOUNT_POINTS:
        (root / place.lstrip("/")).mkdir(parents=True)
    return root


def test_a_read_only_base_gets_a_place_for_what_is_bound_below_a_mount_point(
    tmp_path: pathlib.Path,
) -> None:
    view = views.View(base(tmp_path), overlay=False)
    words = views.options(view, spec(tmp_path, "/state", "/opt/hive/claude", "/run/hive"))
    made = words.index("/opt/hive")
    assert words[made - 1] == "--tmpfs"
    bound = words.index("/opt/hive/claude")
    closed = len(words) - 1 - words[::-1].index("/opt/hive")
    assert words[closed - 1] == "--remount-ro"
    assert made < bound < closed
    # Bound itself, or on a tmpfs already.
    assert words.count("/state") == 1
    assert words.count("/run/hive") == 1


def test_an_overlay_needs_none(tmp_path: pathlib.Path) -> None:
    view = views.View(base(tmp_path), overlay=True)
    assert "/opt/hive" not in views.options(view, spec(tmp_path, "/opt/hive/claude"))


def test_a_place_that_a_read_only_base_lacks_is_refused(tmp_path: pathlib.Path) -> None:
    view = views.View(base(tmp_path), overlay=False)
    with pytest.raises(errors.HiveError, match="no such mount point") as caught:
        views.options(view, spec(tmp_path, "/srv/data"))
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
