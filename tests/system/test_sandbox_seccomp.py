"""The system call filter, run by an interpreter of its own: also for machines not here."""

from __future__ import annotations

import errno
import re
import struct

import pytest

from hyperhive.adapters.sandbox import seccomp, syscalls
from hyperhive.domain import errors

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def decide(machine: str, number: int, *arguments: int, audit: int = 0) -> str:
    """Run the filter on one call, as the kernel's classic BPF machine does."""
    data = struct.pack("<IIQ", number, audit or AUDIT[machine], 0)
    data += struct.pack("<6Q", *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    program = list(struct.iter_unpack("<HBBI", seccomp.build(machine)))
    position = accumulator = 0
    while True:
        code, yes, no, value = program[position]
        position += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("<I", data, value)[0]
            case 0x15:
                position += yes if accumulator == value else no
            case 0x25:
                position += yes if accumulator > value else no
            case 0x35:
                position += yes if accumulator >= value else no
            case 0x45:
                position += yes if accumulator & value else no
            case 0x06:
                if value == ALLOW:
                    return "allow"
                if value == KILL:
                    return "kill"
                assert value & 0xFFFF0000 == ERRNO
                return errno.errorcode[value & 0xFFFF]
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


@pytest.mark.parametrize("column", [1, 2])
def test_every_named_call_is_allowed_and_no_other(column: int) -> None:
    machine = ("x86_64", "aarch64")[column - 1]
    table = syscalls.numbers(column)
    plain = {number for name, number in table.items() if name not in syscalls.FILTERED}
    filtered = {table[name] for name in syscalls.FILTERED}
    for number in range(max(table.values()) + 1):
        if number in filtered:
            continue
        assert decide(machine, number) == ("allow" if number in plain else "EPERM"), number
    assert decide(machine, max(table.values()) + 1) == "ENOSYS"


@pytest.mark.parametrize("machine", AUDIT)
def test_arguments_decide_where_a_call_is_two_things(machine: str) -> None:
    table = syscalls.numbers(1 if machine == "x86_64" else 2)
    assert decide(machine, table["clone3"]) == "ENOSYS"
    assert decide(machine, table["clone"], 0x3D0F00) == "allow"
    for bit in (17, 25, 26, 27, 28, 29, 30):
        assert decide(machine, table["clone"], 17 | 1 << bit) == "EPERM"
    assert decide(machine, table["ioctl"], 0, 0x5401) == "allow"
    # The kernel looks at 32 bits of the command: so must we.
    for command in (0x5412, 0x541C, 0x5412 | 1 << 32):
        assert decide(machine, table["ioctl"], 0, command) == "EPERM"
    assert [decide(machine, table["socket"], family) for family in (1, 2, 10, 16, 17, 38, 40)] == [
        *["allow"] * 4, *["EAFNOSUPPORT"] * 3,
    ]  # fmt: skip
    assert decide(machine, table["personality"], 0xFFFFFFFF) == "allow"
    assert decide(machine, table["personality"], 0x40000) == "EPERM"


def test_another_architectures_table_kills() -> None:
    assert decide("x86_64", 0, audit=0x40000003) == "kill"
    assert decide("x86_64", 0x40000000) == "kill"
    assert decide("aarch64", 0, audit=AUDIT["x86_64"]) == "kill"


def test_dangerous_calls_are_not_on_the_list() -> None:
    forbidden = (
        "mount|umount2?|pivot_root|chroot|unshare|setns|bpf|keyctl|add_key|request_key|ptrace|"
        "process_vm_.*|process_madvise|userfaultfd|io_uring_.*|perf_event_open|kexec.*|.*_module|"
        "open_by_handle_at|name_to_handle_at|fsopen|fsmount|fspick|fsconfig|move_mount|open_tree.*|"
        "mount_setattr|fanotify_init|pidfd_getfd|quotactl.*|swap.*|reboot|acct|syslog|iopl|ioperm|"
        "settimeofday|clock_settime|sethostname|setdomainname|kcmp|lookup_dcookie|vhangup|nfsservctl"
    )
    names = set(syscalls.numbers(1)) | set(syscalls.numbers(2))
    assert [name for name in names if re.fullmatch(forbidden, name)] == []
    assert len(names) > 250


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(errors.HiveError, match="riscv64"):
        seccomp.build("riscv64")
