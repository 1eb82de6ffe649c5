"""Start of the harness: ``python3 -I -S …/hyperhive/harness/__main__.py [--option value]…``.

Rule: nothing is imported from the working directory, which the agent can
write. ``-I`` keeps it out of the path, and the copy beside this file comes first.
"""

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.abspath(__file__).rsplit("/", 3)[0])

    from hyperhive.harness import run

    # The harness has no settings.py: the sandbox's environment is its only input.
    sys.exit(run.main(sys.argv[1:], dict(os.environ)))  # noqa: TID251
