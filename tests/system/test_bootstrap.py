"""`./hive` on a fresh clone: prepares itself once, then starts at once and without a network."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import pytest

import hyperhive

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = f"hive {hyperhive.__version__}\n"
NOBODY = 65534
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def clone(target: pathlib.Path) -> pathlib.Path:
    """What a clone of this tree would be: the tracked files, as they stand."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others",
         "--exclude-standard", "--", "hive", "tools", "src", "nix", "pyproject.toml", "README.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def hive(
    place: pathlib.Path, *arguments: str, uid: int | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `./hive` there, as another user when *uid* is given."""
    passed = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_"))}
    inherited = {"PATH": os.environ["PATH"], "HOME": str(place.parent), "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [str(place / "hive"), *arguments],
        env={**inherited, **passed, **env},
        capture_output=True,
        text=True,
        check=False,
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """A clone in which `./hive` has run once; three started at the same moment."""
    place = clone(tmp_path_factory.mktemp("bootstrap") / "clone")
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(hive, place, "version") for _ in range(3)]
    for run in runs:
        done = run.result()
        assert (done.returncode, done.stdout) == (0, VERSION), done.stderr
    said = [run.result().stderr for run in runs]
    assert sum("making a virtual environment" in text for text in said) == 1, said
    assert sum("waiting for another start" in text for text in said) == 2, said
    yield place
    shutil.rmtree(place)


def test_the_second_start_is_quick_silent_and_offline(prepared: pathlib.Path) -> None:
    started = time.monotonic()
    done = hive(prepared, "version", **OFFLINE)
    took = time.monotonic() - started
    assert (done.returncode, done.stdout, done.stderr) == (0, VERSION, "")
    assert took < 2.0


def test_arguments_and_exit_codes_pass_through(prepared: pathlib.Path) -> None:
    done = hive(prepared, "list", "--home", str(prepared / "a home"))
    assert done.returncode == 3
    assert f"home {prepared}/a home" in done.stderr


def test_a_symbolic_link_to_it_works_from_anywhere(
    prepared: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "hive").symlink_to(prepared / "hive")
    assert hive(tmp_path, "version", **OFFLINE).stdout == VERSION


def test_only_what_it_needs_is_installed(prepared: pathlib.Path) -> None:
    python = prepared / ".venv" / "bin" / "python"
    tried = subprocess.run([python, "-c", "import pytest"], capture_output=True, check=False)
    assert tried.returncode == 1


def test_a_broken_environment_says_so_and_is_mended(prepared: pathlib.Path) -> None:
    stamp = prepared / ".venv" / ".hive-stamp"
    kept = stamp.read_text()
    stamp.write_text("of another pyproject.toml\n")
    try:
        done = hive(prepared, "version", **OFFLINE)
        assert done.returncode == 7
        assert done.stdout == ""
        assert "cannot install the Python packages" in done.stderr
        assert not stamp.exists()
    finally:
        stamp.write_text(kept)
    assert hive(prepared, "version", **OFFLINE).stdout == VERSION


def test_an_ordinary_user_prepares_his_own_clone() -> None:
    """With the interpreter that he can execute, which may be another one than ours."""
    user = NOBODY if os.geteuid() == 0 else None
    # Not below pytest's directory, which is closed to other users.
    with tempfile.TemporaryDirectory(prefix="hive-user-") as directory:
        place = clone(pathlib.Path(directory) / "clone")
        if user is not None:
            for path in [pathlib.Path(directory), place, *place.rglob("*")]:
                os.chown(path, user, user)
        done = hive(place, "version", uid=user)
        assert (done.returncode, done.stdout) == (0, VERSION), done.stderr
        assert (place / ".venv" / ".hive-stamp").exists()
        assert hive(place, "version", uid=user, **OFFLINE).stderr == ""


def test_a_clone_that_cannot_be_written_uses_the_cache_directory() -> None:
    """What is asked is where it would install; the installation itself is tested above."""
    user = NOBODY if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="hive-read-only-") as directory:
        pathlib.Path(directory).chmod(0o755)
        place = clone(pathlib.Path(directory) / "clone")
        place.chmod(0o555)
        cache = f"{directory}/cache"
        shell = f"""
            program=test root={place} XDG_CACHE_HOME={cache}
            . {place}/tools/bootstrap.sh
            choose_venv .hive-stamp
            echo "$venv"
        """
        done = subprocess.run(
            ["/bin/sh", "-c", shell], user=user, capture_output=True, text=True, check=True
        )
        place.chmod(0o755)
    assert done.stdout.startswith(f"{cache}/hyperhive/venv-")


def test_an_old_python_is_passed_over_and_named(tmp_path: pathlib.Path) -> None:
    place = clone(tmp_path / "clone")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "cksum", "readlink", "dirname", "id", "cat", "mkdir", "flock", "rm", "cut"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        (programs / name).write_text("#!/bin/sh\n[ $1 = --version ] && echo Python 3.9.2\nexit 1\n")
        (programs / name).chmod(0o755)
    shell = f"""
        program=test root={place}
        . {place}/tools/bootstrap.sh
        find_python
        echo "$python"
    """
    env = {"PATH": str(programs)}
    done = subprocess.run(
        ["/bin/sh", "-c", shell], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        # /usr/bin/python3 is looked at whatever PATH says.
        assert done.stdout.startswith("/usr/bin/python3")
    else:
        assert (done.returncode, "Python 3.9.2" in done.stderr) == (7, True)
    (programs / "python3.12").unlink()
    (programs / "python3.12").symlink_to(sys.executable)
    done = subprocess.run(
        ["/bin/sh", "-c", shell], env=env, capture_output=True, text=True, check=True
    )
    assert pathlib.Path(done.stdout.strip()).exists()
