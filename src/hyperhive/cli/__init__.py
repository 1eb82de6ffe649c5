"""The `hive` program: the top of the house, and the only part that talks to a terminal.

Rule: a verb imports what it needs when it runs, so that ``hive list`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `hive` and exit with one of the codes of `wire.problems`."""
    from hyperhive.cli import program

    sys.exit(program.run(list(sys.argv[1:] if arguments is None else arguments)))
