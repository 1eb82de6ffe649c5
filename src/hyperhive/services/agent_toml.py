"""Reads ``agent.toml`` strictly, and says all that is wrong with it at once.

Pure: bytes in, a `Configuration` or a list of problems out. A problem names the file, the line,
the key, what was found and what is allowed. What may stand there is in
`services.configuration_keys`; nothing is guessed, and an unknown key is an error.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

from hyperhive.domain import configuration, errors
from hyperhive.domain.configuration import Configuration, Limits, McpServer, Packages
from hyperhive.services import configuration_keys as keys
from hyperhive.services import configuration_problems as problems
from hyperhive.services import configuration_values as values
from hyperhive.services import toml_lines

SIZE_MAX: Final = 64 * 1024
PROMPT_MAX: Final = 64 * 1024
FILE_MAX: Final = 1024 * 1024
FILES_MAX: Final = 8 * 1024 * 1024
OWN_SERVER: Final = "hive"
"""The key of the MCP server that every agent has; nobody else can have it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading. ``configuration`` is None exactly when there are problems."""

    configuration: Configuration | None
    problems: tuple[problems.Problem, ...]
    warnings: tuple[problems.Problem, ...]


def parse(text: str, *, where: str = configuration.FILE_NAME) -> Configuration:
    """Read the text of one ``agent.toml``; `HiveError` INVALID lists everything that is wrong."""
    return accept(read(text.encode("utf-8", "surrogatepass"), where=where))


def load(files: Mapping[str, bytes]) -> Configuration:
    """Read a configuration from the files of a commit, by path (`examine`).

    `HiveError` INVALID lists everything that is wrong.
    """
    return accept(examine(files))


def read(content: bytes, *, where: str = configuration.FILE_NAME) -> Reading:
    """Read one ``agent.toml`` without the files that it names."""
    reader = _Reader(where)
    made = reader.read(content)
    return _reading(reader, made)


def examine(files: Mapping[str, bytes]) -> Reading:
    """Read ``agent.toml`` and check the files that it names; the prompt's text is taken in.

    Without ``agent.toml`` the default counts where ``agent.nix`` stands, else it is a problem.
    """
    content = files.get(configuration.FILE_NAME)
    if content is None and configuration.NIX_FILE_NAME in files:
        return Reading(Configuration(), (), ())
    reader = _Reader(configuration.FILE_NAME)
    if content is None:
        reader.say((), None, "the file is missing; an empty one is enough")
        return _reading(reader, None)
    made = reader.read(content)
    if made is not None:
        made = _Referred(reader, files).take(made)
    return _reading(reader, made)


def _reading(reader: _Reader, made: Configuration | None) -> Reading:
    found = tuple(sorted(reader.problems, key=lambda problem: problem.line))
    return Reading(None if found else made, found, tuple(reader.warnings))


def accept(reading: Reading) -> Configuration:
    """What was read; `HiveError` INVALID lists everything that is wrong."""
    if reading.configuration is not None:
        return reading.configuration
    raise errors.invalid(problems.explain(reading.problems))


class _Reader:
    """Goes through a document with the table of keys, and collects values and problems."""

    def __init__(self, where: str) -> None:
        self.problems: list[problems.Problem] = []
        self.warnings: list[problems.Problem] = []
        self._where = where
        self._lines: Mapping[toml_lines.Path, int] = {}
        self._values: dict[toml_lines.Path, Any] = {}

    def say(self, path: toml_lines.Path, found: Any, text: str, *, line: int = 0) -> None:
        """Note a problem at *path*; *found* is the value there, None when it is not the point."""
        self.problems.append(
            problems.Problem(
                self._where,
                line or self._lines.get(path, 0),
                problems.dotted(path),
                "" if found is None else problems.shown(found),
                text,
            )
        )

    def warn(self, path: toml_lines.Path, text: str) -> None:
        """Note what is accepted, but not as it stands there."""
        number = self._lines.get(path, 0)
        self.warnings.append(problems.Problem(self._where, number, problems.dotted(path), "", text))

    def read(self, content: bytes) -> Configuration | None:
        """The configuration; None when nothing can be made of it."""
        text = self._decode(content)
        if text is None:
            return None
        try:
            document = tomllib.loads(text)
            self._lines = toml_lines.find(text)
        except RecursionError:
            self.say((), None, "values are nested too deeply")
            return None
        except ValueError as error:
            # Its only word on the place is in its message.
            place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
            reason = str(error)[: place.start()] if place else str(error).split(";")[0]
            last = text.rstrip("\n").count("\n") + 1
            line = int(place[1] or last) if place else 0
            self.say((), None, f"this is not TOML: {reason}", line=line)
            return None
        self._table(document, (), ())
        return None if self.problems else self._assemble()

    def _decode(self, content: bytes) -> str | None:
        if len(content) > SIZE_MAX:
            self.say((), None, f"the file has {len(content)} bytes; allowed: {SIZE_MAX}")
            return None
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            self.say((), None, f"byte {error.start + 1} is not UTF-8", line=line)
            return None
        unreadable = values.find_unreadable(text)
        if unreadable is None:
            return text
        at, name = unreadable
        advice = "end lines with a line feed alone" if name == "U+000D" else "remove it"
        self.say(
            (), None, f"a character that no reader sees ({name}); {advice}",
            line=text.count("\n", 0, at) + 1,
        )  # fmt: skip
        return None

    def _table(
        self, table: Mapping[str, Any], path: toml_lines.Path, pattern: tuple[str, ...]
    ) -> None:
        named = keys.members(pattern)
        if not named and len(table) > keys.NAMES[pattern].most:
            most = keys.NAMES[pattern].most
            self.say(path, None, f"{len(table)} entries; allowed: at most {most}")
            return
        for name, value in table.items():
            inner = (*path, name)
            if named and name not in named:
                self._unknown(inner, pattern, named)
            elif pattern == ("mcp_servers",) and name.lower() == OWN_SERVER:
                self.warn(inner, "left out: every agent has the hive's own server of that name")
            elif named or self._name_is_fine(inner, pattern):
                self._member(value, inner, (*pattern, name if named else keys.ANY))
        for name in named:
            key = keys.BY_PATH.get((*pattern, name))
            if key is not None and key.required and name not in table:
                self.say(path, None, f"{name} is missing: {key.meaning}")

    def _member(self, value: Any, path: toml_lines.Path, pattern: tuple[str, ...]) -> None:
        if pattern in keys.TABLES:
            if isinstance(value, dict):
                self._table(value, path, pattern)  # pyright: ignore[reportUnknownArgumentType]
            else:
                self.say(path, value, f"allowed: a table, [{problems.dotted(path)}]")
            return
        key = keys.BY_PATH[pattern]
        if not _fits(value, key.kind):
            self.say(path, value, f"allowed: {key.kind.value}")
        elif key.kind is keys.Kind.TEXTS:
            self._list(value, path, key)
        else:
            self._check(value, path, key)

    def _list(self, found: list[str], path: toml_lines.Path, key: keys.Key) -> None:
        if len(found) > key.most:
            self.say(path, None, f"{len(found)} entries; allowed: at most {key.most}")
            return
        for index, value in enumerate(found):
            self._check(value, (*path, index), key)
        taken = [self._values.get((*path, index)) for index in range(len(found))]
        self._values[path] = tuple(taken)
        if key.path[-1] == "args":
            return
        seen: set[str] = set()
        for index, value in enumerate(taken):
            same = value
            if value is not None and key.path[0] == "packages":
                same = values.split_package(key.path[1], value)[0]
            if same in seen:
                self.say((*path, index), value, "it stands there twice")
            elif same is not None:
                seen.add(same)

    def _check(self, value: Any, path: toml_lines.Path, key: keys.Key) -> None:
        unreadable = values.find_unreadable(value) if isinstance(value, str) else None
        if unreadable is not None:
            text = f"allowed: text without characters that no reader sees ({unreadable[1]})"
            self.say(path, value, text)
            return
        try:
            self._values[path] = key.check(value)
        except values.Wrong as wrong:
            near = problems.nearest(value, key.schema.get("enum", ()))
            self.say(path, value, f"allowed: {wrong}{near}")

    def _name_is_fine(self, path: toml_lines.Path, pattern: tuple[str, ...]) -> bool:
        name = str(path[-1])
        if values.find_unreadable(name) is not None:
            self.say(path, None, "allowed: names without characters that no reader sees")
            return False
        try:
            keys.NAMES[pattern].check(name)
        except values.Wrong as wrong:
            self.say(path, None, f"this name cannot be used; allowed: {wrong}")
            return False
        return True

    def _unknown(self, path: toml_lines.Path, pattern: tuple[str, ...], named: list[str]) -> None:
        name = str(path[-1])
        advice = problems.nearest(name, named)
        if not advice:
            others = [key.path for key in keys.KEYS if key.path[-1] == name]
            if pattern != () and (name,) in others:
                advice = "; it belongs to the top of the file, above the first [table]"
            elif others:
                advice = f"; {'.'.join(others[0][:-1])} has a key of that name"
        self.say(path, None, f"unknown key; allowed: {', '.join(named)}{advice}")

    def _assemble(self) -> Configuration:
        get = self._values.get
        made = Configuration(
            description=get(("description",), ""),
            model=get(("model",), ""),
            prompt=get(("prompt",), ""),
            packages=Packages(*(get(("packages", system), ()) for system in ("apt", "pip", "npm"))),
            environment=self._map(("environment",)),
            files=self._map(("files",)),
            mcp_servers={name: self._server(name) for name in self._names("mcp_servers")},
            tools=get(("tools",)),
            recipients=get(("recipients",)),
            allowed_hosts=get(("allowed_hosts",), ()),
            limits=Limits(
                get(("limits", "memory")), get(("limits", "cpus")), get(("limits", "processes"))
            ),
            secrets=self._map(("secrets",)),
        )
        self._cross(made)
        return made

    def _map(self, table: toml_lines.Path) -> dict[str, str]:
        depth = len(table)
        return {
            str(path[depth]): value
            for path, value in self._values.items()
            if path[:depth] == table and len(path) == depth + 1
        }

    def _names(self, table: str) -> list[str]:
        return list(dict.fromkeys(str(path[1]) for path in self._values if path[0] == table))

    def _server(self, name: str) -> McpServer:
        at = ("mcp_servers", name)
        return McpServer(
            command=self._values[*at, "command"],
            args=self._values.get((*at, "args"), ()),
            env=self._map((*at, "env")),
            secrets=self._map((*at, "secrets")),
            allowed_tools=self._values.get((*at, "allowed_tools")),
        )

    def _cross(self, made: Configuration) -> None:
        """What no key can see alone."""
        for name in made.secrets:
            if name in made.environment:
                self.say(("secrets", name), None, "environment sets the same variable")
        for key, server in made.mcp_servers.items():
            for name in server.secrets:
                if name in server.env:
                    path = ("mcp_servers", key, "secrets", name)
                    self.say(path, None, f"mcp_servers.{key}.env sets the same variable")
        for target in made.files:
            above = [other for other in made.files if target.startswith(f"{other}/")]
            if above:
                self.say(("files", target), None, f"{above[0]} is a file already")


class _Referred:
    """Checks the files that a configuration names."""

    def __init__(self, reader: _Reader, files: Mapping[str, bytes]) -> None:
        self._reader = reader
        self._files = files

    def take(self, made: Configuration) -> Configuration:
        """The configuration with its prompt's text."""
        total = 0
        for target, source in made.files.items():
            content = self._get(("files", target), source, FILE_MAX)
            total += len(content or b"")
        if total > FILES_MAX:
            self._reader.say(("files",), None, f"{total} bytes together; allowed: {FILES_MAX}")
        if not made.prompt:
            return made
        content = self._get(("prompt",), made.prompt, PROMPT_MAX)
        return dataclasses.replace(made, prompt_text=self._prose(made.prompt, content or b""))

    def _get(self, path: toml_lines.Path, source: str, most: int) -> bytes | None:
        content = self._files.get(source)
        if content is None:
            below = any(each.startswith(f"{source}/") for each in self._files)
            text = "this is a directory; name its files" if below else "no such file in the commit"
            near = "" if below else problems.nearest(source, list(self._files))
            self._reader.say(path, source, text + near)
        elif len(content) > most:
            self._reader.say(path, source, f"{len(content)} bytes; allowed: {most}")
        else:
            return content
        return None

    def _prose(self, source: str, content: bytes) -> str:
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            self._reader.say(("prompt",), source, f"byte {error.start + 1} is not UTF-8")
            return ""
        unreadable = values.find_unreadable(text, prose=True)
        if unreadable is not None:
            at, name = unreadable
            line = text.count("\n", 0, at) + 1
            self._reader.say(
                ("prompt",), source,
                f"its line {line} has a character that no reader sees ({name}); remove it",
            )  # fmt: skip
        return text


def _fits(value: Any, kind: keys.Kind) -> bool:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is keys.Kind.TEXT:
        return isinstance(value, str)
    if kind is keys.Kind.WHOLE:
        return is_whole
    if kind is keys.Kind.NUMBER:
        return is_whole or isinstance(value, float)
    if kind is keys.Kind.SIZE:
        return is_whole or isinstance(value, str)
    return isinstance(value, list) and all(isinstance(one, str) for one in value)  # pyright: ignore[reportUnknownVariableType]
