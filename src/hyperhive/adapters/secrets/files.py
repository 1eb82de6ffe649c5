"""Secrets as files of mode 0600 in a directory of mode 0700, replaced by rename."""

from __future__ import annotations

import asyncio
import os
import pathlib

from hyperhive.domain import errors


class FileSecrets:
    """Implements `ports.Secrets`."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory

    async def read(self, name: str) -> str | None:
        """The secret of that name; `HiveError` UNAVAILABLE when it cannot be read."""
        return await asyncio.to_thread(self._read, name)

    async def write(self, name: str, value: str) -> None:
        """Keep *value* durably: file and directory are synced before this returns."""
        await asyncio.to_thread(self._write, name, value)

    async def delete(self, name: str) -> None:
        """Forget the secret."""
        await asyncio.to_thread((self._directory / name).unlink, True)

    def _read(self, name: str) -> str | None:
        try:
            return (self._directory / name).read_text(encoding="ascii")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise errors.unavailable(f"cannot read the secret {name}: {error}") from error

    def _write(self, name: str, value: str) -> None:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._directory / f".{name}.new"
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(self._directory / name)
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise errors.unavailable(f"cannot keep the secret {name}: {error}") from error
