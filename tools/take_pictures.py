"""Takes the pictures of the README anew: real agents, a real browser, by the test of the story."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORY = "tests/browser/test_whole_story.py::test_from_signing_in_to_signing_out"


def main() -> int:
    """Run the story; the pictures lie in docs/pictures then. Needs what ./check needs."""
    cache = str(pathlib.Path.home() / ".cache/hyperhive-test")
    env = {"HIVE_TEST_CACHE": cache, **os.environ, "HIVE_PICTURES": str(ROOT / "docs/pictures")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", STORY], cwd=ROOT, env=env, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
