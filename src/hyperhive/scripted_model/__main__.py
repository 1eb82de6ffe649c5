"""``python -m hyperhive.scripted_model``: the scripted model on its own, for trying things.

Prints its base URL; ends with SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from hyperhive.scripted_model import puppet, server, story

BRAINS = {"story": story.story, "puppet": puppet.puppet}


async def _serve(options: argparse.Namespace) -> None:
    model = server.ScriptedModel(
        BRAINS[options.brain], pace=options.pace, require_key=options.require_key
    )
    print(await model.start(options.host, options.port), flush=True)  # noqa: T201 - its output
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await model.stop()


def main(arguments: list[str] | None = None) -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(
        prog="python -m hyperhive.scripted_model", description="A scripted Messages API."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--brain", choices=sorted(BRAINS), default="story")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds between chunks")
    parser.add_argument("--require-key", help="answer 401 without this key")
    try:
        asyncio.run(_serve(parser.parse_args(arguments)))
    except OSError as error:
        sys.exit(f"cannot serve: {error}")


if __name__ == "__main__":
    main()
