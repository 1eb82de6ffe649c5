"""A forge for tests: the API of Forgejo as far as the mirror uses it, over real git.

`server.Forge` runs in the test's own event loop; ``python -m rigs.forge`` runs one as a program.
`tests/contracts/test_forge_answers.py` holds it to what a real server was seen to answer.
"""

from rigs.forge.server import Forge
from rigs.forge.trouble import Kind, Stage, Trouble

__all__ = ["Forge", "Kind", "Stage", "Trouble"]
