"""Takes the pictures of the README anew: real agents, a real browser, by the stories' tests."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORIES = (
    "tests/browser/test_whole_story.py::test_from_signing_in_to_signing_out",
    "tests/browser/test_configuration_story.py",
)


def main() -> int:
    """Run the stories; the pictures lie in docs/pictures then. Needs what ./check needs."""
    cache = str(pathlib.Path.home() / ".cache/hyperhive-test")
    env = {"HIVE_TEST_CACHE": cache, **os.environ, "HIVE_PICTURES": str(ROOT / "docs/pictures")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *STORIES], cwd=ROOT, env=env, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
