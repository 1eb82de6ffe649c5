"""The files of the page: vendored code is what was built, our own keeps to the policy."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from hyperhive.edges.dashboard import assets

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "src/hyperhive/edges/dashboard/static"
OURS = sorted(path for path in STATIC.glob("*") if path.is_file())


def test_the_vendored_files_are_those_that_the_build_made() -> None:
    sums = dict(
        reversed(line.split("  ", 1))
        for line in (STATIC / "vendor/SHA256SUMS").read_text().splitlines()
    )
    assert set(sums) == {"preact.js", "diff.js", "LICENSES.txt"}
    for name, digest in sums.items():
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == digest


def test_the_licences_name_the_pinned_versions() -> None:
    lock = json.loads((ROOT / "tools/vendor_frontend/package-lock.json").read_text())
    text = (STATIC / "vendor/LICENSES.txt").read_text()
    for name in ("preact", "@preact/signals", "@preact/signals-core", "htm", "diff"):
        assert f"==== {name} {lock['packages'][f'node_modules/{name}']['version']} ====" in text


def test_the_lock_file_pins_by_content_and_names_no_host() -> None:
    text = (ROOT / "tools/vendor_frontend/package-lock.json").read_text()
    assert "://" not in re.sub(r'"url": "[^"]*"', "", text)
    packages = json.loads(text)["packages"]
    assert all("integrity" in entry for name, entry in packages.items() if name)


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_our_own_files_build_no_markup_from_text_and_run_none(path: Path) -> None:
    text = path.read_text()
    for banned in (
        "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function",
        "dangerouslySetInnerHTML", "srcdoc", "javascript:", " style=", "<style", "setInterval(get",
    ):  # fmt: skip
        assert banned not in text, banned
    assert not re.search(r"<script(?! type=\"module\" src=)", text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_our_own_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_only_known_files_are_served() -> None:
    files = assets.load()
    assert {"index.html", "sign-in.html", "app.js", "vendor/preact.js"} <= set(files)
    assert all(asset.content for asset in files.values())
    assert not any(name.endswith(("SHA256SUMS", ".py", ".json")) for name in files)


def test_every_module_that_is_imported_exists() -> None:
    files = assets.load()
    missing: list[tuple[str, str]] = []
    for name in [name for name in files if name.endswith(".js") and "/" not in name]:
        text = files[name].content.decode()
        found = re.findall(r'from "\./([^"]+)"', text)
        # As many as there are imports at all: else the expression has missed some.
        assert len(found) == len(re.findall(r"^import .* from |^\} from ", text, re.MULTILINE)), (
            name
        )
        missing += [(name, target) for target in found if target not in files]
    for page in ("index.html", "sign-in.html"):
        found = re.findall(r'(?:src|href)="/static/([^"]+)"', files[page].content.decode())
        assert found, page
        missing += [(page, target) for target in found if target not in files]
    assert missing == []
