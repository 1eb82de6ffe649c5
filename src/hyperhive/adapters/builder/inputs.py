"""What layers are built from beside configurations: the base root and the package archives.

An archive is "as of" the last time that somebody asked for newer versions: a serial number in
``inputs.json``. While it stays, the same request finds the same layer.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Collection
from typing import Any, Final

from hyperhive import ports
from hyperhive.adapters.builder import generations, shelf
from hyperhive.domain import errors

ARCHIVES: Final = ("apt", "npm", "pip")
BASE: Final = "base"
RECIPE: Final = 1
"""Grows when layers are made in another way, so that all are made anew."""


class Inputs:
    """The inputs of one hive. *base* says on what root layers lie; None is the host's own /usr."""

    def __init__(
        self,
        path: pathlib.Path,
        clock: ports.Clock,
        base: Callable[[], pathlib.Path | None],
    ) -> None:
        self._path = path
        self._clock = clock
        self._base = base
        self._said = self._read()

    def base(self) -> pathlib.Path | None:
        """The base root; None: the host's own /usr."""
        return self._base()

    def base_name(self) -> str:
        """What the base root is made of, in one word."""
        base = self._base()
        return "host" if base is None else base.name

    def serial(self, archive: str) -> int:
        """How often an archive was renewed."""
        return int(self._said.get(archive, {}).get("serial", 1))

    def word(self) -> str:
        """All of it in one word."""
        serials = [(name, self.serial(name)) for name in ARCHIVES]
        return shelf.key_of(RECIPE, self.base_name(), serials)[:16]

    def root_key(self) -> str:
        """The key of what the first layer lies on."""
        return shelf.key_of("base", RECIPE, self.base_name())

    def index_key(self) -> str:
        """The key of apt's package lists."""
        return shelf.key_of(self.root_key(), "index", self.serial("apt"))

    def list(self) -> list[ports.Input]:
        """Each by name."""
        return [
            *(
                ports.Input(name, str(self.serial(name)), self._said.get(name, {}).get("at", ""))
                for name in ARCHIVES
            ),
            ports.Input(BASE, self.base_name(), ""),
        ]

    def renew(self, names: Collection[str], log: Callable[[str], None]) -> None:
        """Take newer versions of those archives from now on, durably. Blocking."""
        for name in names:
            if name not in (*ARCHIVES, BASE):
                known = ", ".join((*ARCHIVES, BASE))
                raise errors.not_found(f"cannot update input {name!r}: there are {known}")
        said = dict(self._said)
        for name in sorted(set(names)):
            if name == BASE:
                log("the base root is made anew by 'hive up' when its recipe or the host changes")
                continue
            at = self._clock.now().isoformat(timespec="seconds")
            said[name] = {"serial": self.serial(name) + 1, "at": at}
            log(f"{name}: versions as of {at} from now on")
        self._write(said)
        self._said = said

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            return json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def _write(self, said: dict[str, dict[str, Any]]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self._path.with_name(f".{self._path.name}.new")
        with new.open("w", encoding="utf-8") as stream:
            stream.write(json.dumps(said, indent=1, sort_keys=True) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(self._path)
        generations.sync_directory(self._path.parent)
