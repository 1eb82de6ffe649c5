"""What a hostile sandbox may send instead of a pack, each with what must become of it."""

# Look-alikes are what some of this is about.
# ruff: noqa: RUF001

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import random
import struct
import unicodedata
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator

from hyperhive.adapters.config_repo import importer, policy
from hyperhive.domain import errors
from rigs import packs

Stream = Callable[[], AsyncGenerator[bytes, None]]
FILE, DIRECTORY = "100644", "40000"


@dataclasses.dataclass(frozen=True)
class Sent:
    """What is asked for, and what comes."""

    sha: str
    stream: Stream


@dataclasses.dataclass(frozen=True)
class Case:
    """One attack."""

    name: str
    build: Callable[[], Sent]
    refused: str | None
    """A pattern that the refusal matches; None: it is harmless and accepted."""
    limits: policy.Limits = importer.LIMITS
    kind: errors.ErrorKind = errors.ErrorKind.INVALID


CASES: list[Case] = []


def case(
    refused: str | None,
    limits: policy.Limits = importer.LIMITS,
    kind: errors.ErrorKind = errors.ErrorKind.INVALID,
) -> Callable[[Callable[[], Sent]], Callable[[], Sent]]:
    def keep(build: Callable[[], Sent]) -> Callable[[], Sent]:
        CASES.append(Case(build.__name__, build, refused, limits, kind))
        return build

    return keep


def pieces(*parts: bytes) -> Stream:
    async def stream() -> AsyncGenerator[bytes, None]:
        for part in parts:
            yield part

    return stream


def sent(pack: packs.Pack, sha: str, **how: object) -> Sent:
    return Sent(sha, pieces(f"{sha}\n".encode(), pack.build(**how)))  # type: ignore[arg-type]


def named(*names: bytes, mode: str = FILE) -> Sent:
    """A commit of files of these names."""
    pack = packs.Pack()
    blob = pack.blob()
    return sent(pack, pack.commit(pack.tree(*((mode, name, blob) for name in names))))


def plain() -> tuple[packs.Pack, str]:
    pack = packs.Pack()
    return pack, pack.commit(pack.files(b"agent.toml"))


# --- harmless ----------------------------------------------------------------------------


@case(None)
def an_honest_commit() -> Sent:
    return sent(*plain())


@case(None)
def ordinary_names() -> Sent:
    return named(b".gitignore", "Grüße.md".encode(), b"a b", b"agent.toml")


@case(None)
def an_executable_file() -> Sent:
    return named(b"run.sh", mode="100755")


@case(None)
def an_empty_tree() -> Sent:
    pack = packs.Pack()
    return sent(pack, pack.commit(pack.tree()))


@case(None)
def a_stowaway() -> Sent:
    pack, sha = plain()
    pack.blob(b"nobody asked for me")
    pack.commit(pack.tree(("120000", b"link", pack.blob(b"/etc/passwd"))))
    return sent(pack, sha)


@case(None)
def a_long_delta_chain() -> Sent:
    pack, sha = plain()
    content = os.urandom(64)
    base = pack.blob(content)
    for number in range(2000):
        delta = packs.varint(len(content)) + packs.varint(len(content) + 2) + b"\x90\x40"
        delta += b"\x02" + struct.pack(">H", number)
        if len(content) > 64:
            delta = (
                packs.varint(66) + packs.varint(66) + b"\x90\x40\x02" + struct.pack(">H", number)
            )
        pack.ref_delta(base, delta)
        content = content[:64] + struct.pack(">H", number)
        base = packs.name_of(packs.BLOB, content)
    return sent(pack, sha)


@case(None)
def junk_behind_the_pack() -> Sent:
    pack, sha = plain()
    return Sent(sha, pieces(f"{sha}\n".encode(), pack.build(), b"junk" * 1000))


# --- no pack at all ----------------------------------------------------------------------


@case("named no commit")
def nothing() -> Sent:
    return Sent("1" * 40, pieces())


@case("sent no pack")
def a_line_only() -> Sent:
    return Sent("1" * 40, pieces(b"1" * 40 + b"\n"))


@case("named no commit")
def an_error_instead_of_an_id() -> Sent:
    return Sent("1" * 40, pieces(b"fatal: \x1b]52;c;ZXZpbA==\x07 not found\n", plain()[0].build()))


@case("named no commit")
def a_line_without_end() -> Sent:
    return Sent("1" * 40, pieces(*(b"1" * 65536 for _ in range(64))))


@case("named no commit")
def an_id_in_capitals() -> Sent:
    pack, _ = plain()
    return Sent("ab" * 20, pieces(b"AB" * 20 + b"\n", pack.build()))


@case("another commit")
def another_commit() -> Sent:
    pack, sha = plain()
    return Sent(
        f"{(int(sha[0], 16) + 1) % 16:x}{sha[1:]}", pieces(sha.encode() + b"\n", pack.build())
    )


@case("sent no pack")
def noise() -> Sent:
    return Sent("1" * 40, pieces(b"1" * 40 + b"\n", b"\0" + os.urandom(65536)))


@case("sent no pack")
def a_wrong_magic() -> Sent:
    return sent(*plain(), magic=b"BACK")


@case("git says")
def an_unknown_version() -> Sent:
    return sent(*plain(), version=9)


@case("git says")
def half_a_pack() -> Sent:
    pack, sha = plain()
    return Sent(sha, pieces(f"{sha}\n".encode(), pack.build()[:-40]))


@case("git says")
def a_wrong_checksum() -> Sent:
    pack, sha = plain()
    return Sent(sha, pieces(f"{sha}\n".encode(), pack.build()[:-20] + bytes(20)))


@case("more than 20000 objects")
def a_claim_of_four_billion_objects() -> Sent:
    return sent(*plain(), count=4_000_000_000)


@case("more than 20000 objects")
def a_claim_of_fifty_million_objects() -> Sent:
    return sent(*plain(), count=50_000_000)


@case("git says")
def a_claim_of_too_many_objects() -> Sent:
    return sent(*plain(), count=19_000)


@case("git says|missing")
def a_claim_of_too_few_objects() -> Sent:
    return sent(*plain(), count=1)


@case("is missing|git says")
def a_claim_of_none() -> Sent:
    return sent(*plain(), count=0)


@case("git says|ended by the limits")
def an_object_that_claims_a_tebibyte() -> Sent:
    pack, sha = plain()
    pack.raw(packs.entry_header(packs.BLOB, 2**40) + zlib.compress(b"small"))
    return sent(pack, sha)


@case("git says|ended by the limits")
def a_tree_that_claims_two_gibibytes() -> Sent:
    pack, sha = plain()
    pack.raw(packs.entry_header(packs.TREE, 2**31) + zlib.compress(b"small"))
    return sent(pack, sha)


@case("git says")
def an_object_of_unknown_kind() -> Sent:
    pack, sha = plain()
    pack.raw(packs.entry_header(5, 5) + zlib.compress(b"small"))
    return sent(pack, sha)


@case("pack has more than", policy.Limits(pack_bytes=2**20))
def an_endless_pack() -> Sent:
    async def stream() -> AsyncGenerator[bytes, None]:
        pack, sha = plain()
        yield f"{sha}\n".encode() + pack.build(count=5)[:-20]
        while True:
            yield os.urandom(65536)

    return Sent(plain()[1], stream)


@case("within 1 s", policy.Limits(seconds=1.0), errors.ErrorKind.UNAVAILABLE)
def a_byte_at_a_time() -> Sent:
    async def stream() -> AsyncGenerator[bytes, None]:
        pack, sha = plain()
        yield f"{sha}\n".encode()
        for byte in pack.build():
            await asyncio.sleep(0.2)
            yield bytes([byte])

    return Sent(plain()[1], stream)


@case("within 1 s", policy.Limits(seconds=1.0), errors.ErrorKind.UNAVAILABLE)
def silence() -> Sent:
    async def stream() -> AsyncGenerator[bytes, None]:
        await asyncio.sleep(600)
        yield b""

    return Sent("1" * 40, stream)


@case("lost", kind=errors.ErrorKind.UNAVAILABLE)
def an_end_in_the_middle() -> Sent:
    async def stream() -> AsyncGenerator[bytes, None]:
        pack, sha = plain()
        yield f"{sha}\n".encode() + pack.build()[:30]
        raise errors.unavailable("cannot read: lost")

    return Sent(plain()[1], stream)


# --- bombs -------------------------------------------------------------------------------


@case("git says|ended by the limits|took too long")
def a_delta_bomb_of_four_hundred_bytes() -> Sent:
    pack, sha = plain()
    size = 65_536
    at = pack.raw(packs.entry_header(packs.BLOB, size) + zlib.compress(bytes(size), 9))
    for _ in range(3):
        at = pack.ofs_delta(at, packs.copy_delta(size, [(0, size)] * 32))
        size *= 32
    assert len(pack.build()) < 1024
    return sent(pack, sha)


@case("git says|ended by the limits|took too long")
def a_delta_bomb() -> Sent:
    pack, sha = plain()
    base = os.urandom(4096) * 4096  # 16 MiB of which each copy takes all
    size, content = len(base) - 1, base
    name = pack.blob(content)
    pack.ref_delta(name, packs.copy_delta(len(content), [(0, size)] * 127))
    return sent(pack, sha)


@case("blob has 104857600 bytes|more than 67108864")
def a_zip_bomb() -> Sent:
    pack, sha = plain()
    size = 100 * 1024**2
    deflate = zlib.compressobj(9)
    block = deflate.compress(bytes(2**20))
    body = block + b"".join(deflate.compress(bytes(2**20)) for _ in range(99)) + deflate.flush()
    pack.raw(packs.entry_header(packs.BLOB, size) + body)
    return sent(pack, sha)


@case("more than 67108864 bytes unpacked")
def many_large_files() -> Sent:
    pack, _ = plain()
    names = [pack.blob(bytes(900_000) + struct.pack(">I", number)) for number in range(80)]
    rows = [(FILE, b"%04d" % number, name) for number, name in enumerate(names)]
    return sent(pack, pack.commit(pack.tree(*rows)))


@case("more than 20000 objects")
def too_many_objects() -> Sent:
    pack, sha = plain()
    pack.parts += [
        packs.entry_header(packs.BLOB, 4) + zlib.compress(struct.pack(">I", number))
        for number in range(20_000)
    ]
    return sent(pack, sha)


@case("more than 2000 commits")
def too_many_commits() -> Sent:
    pack, sha = plain()
    tree_sha = pack.files(b"agent.toml")
    for number in range(2_000):
        sha = pack.commit(tree_sha, sha, message=b"%d\n" % number)
    return sent(pack, sha)


@case("more than 5000 files")
def a_tree_bomb() -> Sent:
    pack = packs.Pack()
    inner = pack.files(*(b"%d" % number for number in range(10)))
    for _ in range(10):
        inner = pack.tree(*((DIRECTORY, b"%d" % number, inner) for number in range(10)))
    return sent(pack, pack.commit(inner))


@case("a directory is empty")
def a_tree_bomb_of_nothing() -> Sent:
    pack = packs.Pack()
    inner = pack.tree()
    for _ in range(10):
        inner = pack.tree(*((DIRECTORY, b"%d" % number, inner) for number in range(10)))
    return sent(pack, pack.commit(inner))


@case("more than 5000 files")
def too_many_files() -> Sent:
    return named(*(b"%05d" % number for number in range(5_001)))


@case("blob has 1048577 bytes")
def too_large_a_file() -> Sent:
    pack = packs.Pack()
    blob = pack.blob(bytes(2**20 + 1))
    return sent(pack, pack.commit(pack.tree((FILE, b"big", blob))))


@case("tree has [0-9]+ bytes")
def too_large_a_tree() -> Sent:
    pack, sha = plain()
    blob = pack.blob()
    pack.tree(*((FILE, b"%06d" % number + b"x" * 200, blob) for number in range(10_000)))
    return sent(pack, sha)


@case("commit has [0-9]+ bytes")
def too_large_a_commit() -> Sent:
    pack = packs.Pack()
    return sent(pack, pack.commit(pack.files(b"a"), extra=b"x y\n" * 20_000))


@case("message has more than 4096 bytes")
def too_long_a_message() -> Sent:
    pack = packs.Pack()
    return sent(pack, pack.commit(pack.files(b"a"), message=b"word " * 1000))


@case("deeper than 16 levels")
def too_deep_a_path() -> Sent:
    pack = packs.Pack()
    inner = pack.files(b"a")
    for _ in range(16):
        inner = pack.tree((DIRECTORY, b"d", inner))
    return sent(pack, pack.commit(inner))


@case("deeper than 16 levels|more than 255 bytes")
def a_path_of_megabytes() -> Sent:
    pack = packs.Pack()
    inner = pack.files(b"a")
    for _ in range(2_000):
        inner = pack.tree((DIRECTORY, b"d" * 250, inner))
    return sent(pack, pack.commit(inner))


@case("more than 255 bytes")
def too_long_a_path() -> Sent:
    return named(b"a" * 256)


# --- broken deltas -----------------------------------------------------------------------


@case("git says")
def a_delta_of_what_is_not_there() -> Sent:
    pack, sha = plain()
    pack.ref_delta("1" * 40, packs.copy_delta(6, [(0, 6)]))
    return sent(pack, sha)


@case("git says")
def a_delta_that_copies_beyond_the_end() -> Sent:
    pack, sha = plain()
    pack.ref_delta(pack.blob(b"x" * 100), packs.copy_delta(100, [(90, 4000)]))
    return sent(pack, sha)


@case("git says")
def a_delta_that_lies_about_its_size() -> Sent:
    pack, sha = plain()
    pack.ref_delta(pack.blob(b"x" * 100), packs.varint(100) + packs.varint(5000) + b"\x90\x10")
    return sent(pack, sha)


@case("git says")
def a_delta_before_the_pack() -> Sent:
    pack, sha = plain()
    pack.raw(packs.entry_header(packs.OFS_DELTA, 4) + b"\xff\xff\xff\x7f" + zlib.compress(b"abcd"))
    return sent(pack, sha)


# --- names -------------------------------------------------------------------------------

NAMES = {
    "dot_git": (b".git", "hasDotgit|begin with .git"),
    "dot_git_in_capitals": (b".GIT", "hasDotgit|begin with .git"),
    "dot_git_with_a_joiner": (".g\u200cit".encode(), "hasDotgit|U\\+200C"),
    "dot_git_by_its_short_name": (b"git~1", "hasDotgit|character ~"),
    "dot_git_in_wide_letters": ("．ｇｉｔ".encode(), "begin with .git"),
    "dot_git_with_a_dot": (b".git.", "hasDotgit|begin with .git"),
    "gitattributes": (b".gitattributes", "begin with .git"),
    "gitmodules": (b".gitmodules", "begin with .git|gitmodules"),
    "gitconfig": (b".gitconfig", "begin with .git"),
    "dot_dot": (b"..", "hasDotdot|no name"),
    "dot": (b".", "hasDot|no name"),
    "a_slash": (b"a/../b", "fullPathname|no name"),
    "nothing": (b"", "emptyName|empty|broken|git says"),
    "an_option": (b"--upload-pack=x", "hyphen"),
    "a_backslash": (rb"a\..\b", r"character \\|git says"),
    "a_drive": (b"C:x", "character :"),
    "a_tilde": (b"progra~1", "character ~"),
    "bytes": (b"\xff\xfe", "not UTF-8"),
    "a_surrogate": (b"\xed\xa0\x80", "not UTF-8"),
    "another_direction": ("a\u202egnp.sh".encode(), r"U\+202E"),
    "an_isolate": ("a\u2066b".encode(), r"U\+2066"),
    "an_escape": (b"a\x1b[2Jb", r"U\+001B"),
    "a_newline": (b"a\nb", r"U\+000A"),
    "a_bell": (b"a\x07", r"U\+0007"),
    "a_delete": (b"a\x7f", r"U\+007F"),
    "a_c1_control": ("a\u009b".encode(), r"U\+009B"),
    "nothing_visible": ("a\u200b".encode(), r"U\+200B"),
    "a_mark_of_byte_order": ("\ufeffa".encode(), r"U\+FEFF"),
    "a_filler": ("a\u3164".encode(), r"U\+3164"),
    "a_variation": ("a\ufe0f".encode(), r"U\+FE0F"),
    "a_tag_character": ("a\U000e0041".encode(), r"U\+E0041"),
    "private_use": ("a\ue000".encode(), r"U\+E000"),
    "an_unassigned_character": ("a\U0003fffd".encode(), r"U\+3FFFD"),
    "a_line_separator": ("a\u2028b".encode(), r"U\+2028"),
    "an_unusual_space": ("a\u00a0b".encode(), r"U\+00A0"),
    "a_space_at_the_end": (b"agent.toml ", "space"),
    "an_unusual_form": (unicodedata.normalize("NFD", "ü").encode(), "NFC"),
}
for each, (text, pattern) in NAMES.items():
    CASES.append(Case(f"a_name_of_{each}", lambda text=text: named(text), pattern))

PAIRS = {
    "in_capitals": (b"A", b"a"),
    "with_sharp_s": (b"STRASSE", "straße".encode()),
    "with_a_ligature": ("ﬁle".encode(), b"file"),
    "in_wide_letters": (b"a", "ａ".encode()),
}
for each, (one, other) in PAIRS.items():
    CASES.append(
        Case(
            f"a_twin_{each}",
            lambda one=one, other=other: named(*sorted((one, other))),
            "the same as",
        )
    )


@case("the same as")
def a_directory_like_a_file() -> Sent:
    pack = packs.Pack()
    rows = (("40000", b"A", pack.files(b"x")), (FILE, b"a", pack.blob()))
    return sent(pack, pack.commit(pack.tree(*rows)))


@case("git says")
def a_name_twice() -> Sent:
    return named(b"a", b"a")


@case("git says")
def a_file_and_a_directory_of_one_name() -> Sent:
    pack = packs.Pack()
    rows = ((FILE, b"a", pack.blob()), (DIRECTORY, b"a", pack.files(b"x")))
    return sent(pack, pack.commit(pack.tree(*rows)))


@case("git says")
def names_in_disorder() -> Sent:
    return named(b"b", b"a")


# --- kinds and modes ---------------------------------------------------------------------

MODES = {
    "a_symbolic_link": ("120000", "symbolic link"),
    "a_submodule": ("160000", "submodule"),
    "set_user_id": ("104755", "git says|104755"),
    "everybody_may": ("100777", "git says|100777"),
    "group_may": ("100664", "git says|100664"),
    "nothing": ("0", "git says|broken"),
    "zeros_in_front": ("0100644", "git says|broken"),
    "a_device": ("60000", "git says|60000"),
}
for each, (mode, pattern) in MODES.items():
    CASES.append(Case(f"a_mode_of_{each}", lambda mode=mode: named(b"a", mode=mode), pattern))


@case("git says|not a tree")
def a_directory_that_is_a_file() -> Sent:
    return named(b"a", mode=DIRECTORY)


@case("git says|not a blob")
def a_file_that_is_a_directory() -> Sent:
    pack = packs.Pack()
    return sent(pack, pack.commit(pack.tree((FILE, b"a", pack.files(b"x")))))


@case("symbolic link.*in commit")
def a_link_in_an_early_commit() -> Sent:
    pack = packs.Pack()
    early = pack.commit(pack.tree(("120000", b"link", pack.blob(b"/etc/passwd"))))
    return sent(pack, pack.commit(pack.files(b"a"), early))


@case("symbolic link.*path deep/down/link")
def a_link_deep_down() -> Sent:
    pack = packs.Pack()
    inner = pack.tree(("120000", b"link", pack.blob(b"/etc/passwd")))
    for name in (b"down", b"deep"):
        inner = pack.tree((DIRECTORY, name, inner))
    return sent(pack, pack.commit(inner))


@case("submodule")
def a_submodule_that_is_there() -> Sent:
    pack, sha = plain()
    return sent(pack, pack.commit(pack.tree(("160000", b"module", sha))))


# --- what is asked for -------------------------------------------------------------------


@case("is a tag, not a commit")
def a_tag_for_a_commit() -> Sent:
    pack, sha = plain()
    text = f"object {sha}\ntype commit\ntag v1\ntagger ".encode() + packs.AUTHOR + b"\n\nv1\n"
    return sent(pack, pack.add(packs.TAG, text))


@case("is a tree, not a commit")
def a_tree_for_a_commit() -> Sent:
    pack = packs.Pack()
    return sent(pack, pack.files(b"a"))


@case("is a blob, not a commit")
def a_file_for_a_commit() -> Sent:
    pack = packs.Pack()
    return sent(pack, pack.blob())


@case("is missing")
def a_pack_of_something_else() -> Sent:
    pack, _ = plain()
    return Sent("1" * 40, pieces(b"1" * 40 + b"\n", pack.build()))


@case("git says|is missing")
def a_missing_file() -> Sent:
    pack = packs.Pack()
    return sent(pack, pack.commit(pack.tree((FILE, b"a", "1" * 40))))


@case("git says|is missing")
def a_missing_tree() -> Sent:
    pack = packs.Pack()
    return sent(pack, pack.commit("1" * 40))


@case("git says|is missing")
def a_missing_parent() -> Sent:
    pack = packs.Pack()
    return sent(pack, pack.commit(pack.files(b"a"), "1" * 40))


@case("git says|is missing")
def an_object_of_zeros() -> Sent:
    pack = packs.Pack()
    return sent(pack, pack.commit(pack.tree((FILE, b"a", "0" * 40))))


@case("git says")
def a_zero_in_a_header() -> Sent:
    pack = packs.Pack()
    return sent(pack, pack.commit(pack.files(b"a"), author=b"A\0B <a@b> 1700000000 +0000"))


@case("git says|date")
def a_date_beyond_all_calendars() -> Sent:
    pack = packs.Pack()
    return sent(pack, pack.commit(pack.files(b"a"), author=b"A <a@b> 99999999999 +0000"))


@case("git says|author")
def a_commit_of_nobody() -> Sent:
    pack = packs.Pack()
    text = f"tree {pack.files(b'a')}\n\nmessage\n".encode()
    return sent(pack, pack.add(packs.COMMIT, text))


@case("git says|broken")
def a_tree_that_is_none() -> Sent:
    pack = packs.Pack()
    return sent(pack, pack.commit(pack.add(packs.TREE, b"this is no tree")))


THOROUGH = [each for each in CASES if each.name.startswith(("a_name_of_", "a_twin_", "a_mode_of_"))]
"""Judged by us, not by git: fit for a quick test without sandboxes."""

# --- secrets -----------------------------------------------------------------------------

SECRET = b"sk-ant-" + b"api03-" + b"Zq7" * 12


@case("there is an Anthropic key in it .path keys/model.")
def a_secret() -> Sent:
    pack = packs.Pack()
    inner = pack.tree((FILE, b"model", pack.blob(b"key = '" + SECRET + b"'\n")))
    return sent(pack, pack.commit(pack.tree((DIRECTORY, b"keys", inner))))


@case("there is an Anthropic key in it .path model in commit")
def a_secret_in_an_early_commit() -> Sent:
    pack = packs.Pack()
    early = pack.commit(pack.tree((FILE, b"model", pack.blob(SECRET))))
    return sent(pack, pack.commit(pack.files(b"a"), early))


@case("there is an Anthropic key in it .message of commit")
def a_secret_in_a_message() -> Sent:
    pack = packs.Pack()
    return sent(pack, pack.commit(pack.files(b"a"), message=b"Use " + SECRET + b"\n"))


# --- mutations ---------------------------------------------------------------------------


def mutations(seed: int) -> Iterator[Sent]:
    """Honest and nearly honest packs with a few bytes changed; the same ones for the same seed."""
    chance = random.Random(seed)
    pack = packs.Pack()
    first = pack.commit(pack.files(b"a", b"b"))
    body = chance.randbytes(600)
    base = pack.blob(body)
    inner = pack.tree((FILE, b"c", base), ("100755", b"d", pack.blob(b"x" * 300)))
    sha = pack.commit(pack.tree((FILE, b"a", base), (DIRECTORY, b"e", inner)), first)
    pack.ref_delta(base, packs.copy_delta(600, [(0, 300), (100, 400)]))
    honest = pack.build()
    while True:
        data = bytearray(honest[:-20])
        for _ in range(chance.randint(1, 4)):
            _mutate(chance, data)
        checksum = hashlib.sha1(data).digest() if chance.random() < 0.9 else honest[-20:]
        yield Sent(sha, pieces(f"{sha}\n".encode(), bytes(data) + checksum))


def _mutate(chance: random.Random, data: bytearray) -> None:
    at = chance.randrange(4, max(5, len(data)))
    match chance.randrange(6):
        case 0:
            data[at : at + 1] = bytes([chance.randrange(256)])
        case 1:
            data[at : at + 1] = bytes(
                [data[at] ^ 1 << chance.randrange(8)] if at < len(data) else []
            )
        case 2:
            del data[at : at + chance.randint(1, 20)]
        case 3:
            data[at:at] = chance.randbytes(chance.randint(1, 20))
        case 4:
            begin = chance.randrange(len(data))
            data[at:at] = data[begin : begin + chance.randint(1, 60)]
        case _:
            data[8:12] = struct.pack(">I", chance.randint(0, 12))
