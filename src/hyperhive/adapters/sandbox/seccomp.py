"""The filter on a payload's system calls, as classic BPF (seccomp(2), bpf(4)).

An allow-list: whatever is not named is refused with EPERM, and with ENOSYS when
it is newer than our table, so that programs take their older path. A call made
through another architecture's table kills the process: numbers mean other calls
there. Written by hand because libseccomp is no part of a bare host, and because
a list of ranges is short enough to be read.
"""

from __future__ import annotations

import errno
import platform
import struct
from typing import Final

from hyperhive.adapters.sandbox import syscalls
from hyperhive.domain import errors

# linux/bpf_common.h, linux/seccomp.h, linux/audit.h
_LOAD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_JUMP_ABOVE: Final = 0x25
_JUMP_AT_LEAST: Final = 0x35
_JUMP_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_KILL_PROCESS: Final = 0x80000000
_ERRNO: Final = 0x00050000
_MACHINES: Final = {"x86_64": (0xC000003E, 1), "aarch64": (0xC00000B7, 2)}
_X32_BIT: Final = 0x40000000

_NEW_NAMESPACES: Final = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
_TIOCSTI: Final = 0x5412
_TIOCLINUX: Final = 0x541C
_SOCKETS: Final = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK (getifaddrs); no vsock, packet, alg, bluetooth…"""
_PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

Instruction = tuple[int, int, int, int]


def build(machine: str = "") -> bytes:
    """Return the filter for *machine* (default: this one) as an array of ``struct sock_filter``.

    `HiveError` UNAVAILABLE on a machine whose numbers we do not have.
    """
    machine = machine or platform.machine()
    if machine not in _MACHINES:
        raise errors.unavailable(
            f"cannot filter system calls on {machine}: only x86_64 and aarch64 are known"
        )
    audit, column = _MACHINES[machine]
    table = syscalls.numbers(column)
    program: list[Instruction] = [
        (_LOAD, 0, 0, 4),
        (_JUMP_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, 0),
    ]
    if machine == "x86_64":
        program += [(_JUMP_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL_PROCESS)]
    # glibc falls back to clone(2), whose flags can be looked at, only on ENOSYS.
    program += _when(table["clone3"], [_refuse(errno.ENOSYS)])
    program += _when(
        table["clone"],
        [_argument(0), (_JUMP_ANY_BIT, 0, 1, _NEW_NAMESPACES), _refuse(errno.EPERM), _allow()],
    )
    program += _when(table["ioctl"], _unless_one_of(1, (_TIOCSTI, _TIOCLINUX), errno.EPERM))
    program += _when(table["socket"], _only_one_of(0, _SOCKETS, errno.EAFNOSUPPORT))
    program += _when(table["personality"], _only_one_of(0, _PERSONALITIES, errno.EPERM))
    allowed = sorted(number for name, number in table.items() if name not in syscalls.FILTERED)
    for low, high in _ranges(allowed):
        program += [(_JUMP_AT_LEAST, 0, 2, low), (_JUMP_ABOVE, 1, 0, high), _allow()]
    program += [(_JUMP_ABOVE, 0, 1, max(table.values())), _refuse(errno.ENOSYS)]
    program.append(_refuse(errno.EPERM))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def _allow() -> Instruction:
    return (_RETURN, 0, 0, _ALLOW)


def _refuse(number: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | number)


def _argument(index: int) -> Instruction:
    # Both machines are little-endian, and the kernel uses the low half of these arguments only.
    return (_LOAD, 0, 0, 16 + 8 * index)


def _when(number: int, block: list[Instruction]) -> list[Instruction]:
    return [(_JUMP_EQUAL, 0, len(block), number), *block]


def _only_one_of(index: int, values: tuple[int, ...], otherwise: int) -> list[Instruction]:
    block = [_argument(index)]
    for value in values:
        block += [(_JUMP_EQUAL, 0, 1, value), _allow()]
    return [*block, _refuse(otherwise)]


def _unless_one_of(index: int, values: tuple[int, ...], refusal: int) -> list[Instruction]:
    block = [_argument(index)]
    for value in values:
        block += [(_JUMP_EQUAL, 0, 1, value), _refuse(refusal)]
    return [*block, _allow()]


def _ranges(numbers: list[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges
