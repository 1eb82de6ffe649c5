"""Text of others: nothing disappears and nothing can be taken for something else."""

# The texts are look-alikes on purpose.
# ruff: noqa: RUF001

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperhive.services import visible
from hyperhive.services.visible import Mark
from rigs.seen import read_back

ODD = "\u202e\u200b\u00ad\ufeff\u0000\u001b\r\t ⟦⟧аеo\u0301é\u3164\ufe0f\ue000\U000e0041שلü日🙂"


@given(st.one_of(st.binary(), st.text(alphabet=ODD).map(lambda text: text.encode())))
def test_the_bytes_can_be_had_back_from_what_is_shown(raw: bytes) -> None:
    shown = visible.show(raw)
    assert read_back(shown.text) == raw


@given(st.text(alphabet=ODD))
def test_what_is_shown_has_only_characters_with_a_picture(text: str) -> None:
    for sign in visible.show(text.encode()).text:
        assert sign in "\t " or unicodedata.category(sign)[0] in "LMNPS"
        assert unicodedata.bidirectional(sign) not in ("R", "AL", "RLO", "LRO", "RLE", "LRE")


@pytest.mark.parametrize(
    ("raw", "text", "mark"),
    [
        (b"a\0b", "a⟦NUL⟧b", Mark.CONTROL),
        (b"\x1b[2J", "⟦ESC⟧[2J", Mark.CONTROL),
        (b"safe\rrm", "safe⟦CR⟧rm", Mark.CARRIAGE_RETURN),
        ("a\u202eb".encode(), "a⟦U+202E⟧b", Mark.DIRECTION),
        ("x = 'שלום'".encode(), "x = '⟦U+05E9⟧⟦U+05DC⟧⟦U+05D5⟧⟦U+05DD⟧'", Mark.DIRECTION),
        ("a\u200bb".encode(), "a⟦U+200B⟧b", Mark.INVISIBLE),
        ("a\U000e0041".encode(), "a⟦U+E0041⟧", Mark.INVISIBLE),
        ("a\ufe0e".encode(), "a⟦U+FE0E⟧", Mark.INVISIBLE),
        ("a\u3164b".encode(), "a⟦U+3164⟧b", Mark.INVISIBLE),
        ("pаypal".encode(), "p⟦U+0430⟧ypal", Mark.LOOK_ALIKE),
        ("import сору".encode(), "import ⟦U+0441⟧⟦U+043E⟧⟦U+0440⟧⟦U+0443⟧", Mark.LOOK_ALIKE),
        ("ｃurl".encode(), "⟦U+FF43⟧url", Mark.LOOK_ALIKE),
        ("https:∕∕x".encode(), "https:⟦U+2215⟧⟦U+2215⟧x", Mark.LOOK_ALIKE),
        ("rm −rf".encode(), "rm ⟦U+2212⟧rf", Mark.LOOK_ALIKE),
        ("e\u0301".encode(), "e⟦U+0301⟧", Mark.NOT_NORMAL),
        ("\u212a".encode(), "⟦U+212A⟧", Mark.LOOK_ALIKE),
        (b"caf\xe9", "caf⟦0xE9⟧", Mark.NOT_UTF8),
        (b"\xed\xa0\x80", "⟦0xED⟧⟦0xA0⟧⟦0x80⟧", Mark.NOT_UTF8),
        ("a\u00a0b".encode(), "a⟦U+00A0⟧b", Mark.BLANK),
        (b"x" * 600, "x" * 600, Mark.LONG_LINE),
        (b"ok" + b" " * 80 + b"rm", "ok" + " " * 80 + "rm", Mark.GAP),
    ],
)
def test_each_trick_is_written_out_and_marked(raw: bytes, text: str, mark: Mark) -> None:
    assert visible.show(raw) == visible.Shown(text, frozenset({mark}))


@pytest.mark.parametrize(
    "text",
    [
        'model = "opus"',
        "Für alle: größer, schöner – „so“, 10 m², 5 °C …",
        "Привет, мир: это не обман",
        "日本語のテキスト",
        "Γεια σου κόσμε",
        "done ✓ 🙂",
        "\tindented",
    ],
)
def test_honest_text_is_left_as_it_is(text: str) -> None:
    assert visible.show(text.encode()) == visible.Shown(text)


def test_the_shortcut_for_usual_text_says_what_the_long_way_says() -> None:
    usual = [chr(code) for code in range(0xD800) if visible._USUAL.fullmatch(chr(code))]
    assert len(usual) > 20_000
    for sign in usual:
        assert visible._judge(sign) is None, hex(ord(sign))
        assert not visible._is_odd(sign), hex(ord(sign))
        assert visible._script(sign) not in visible._MIXED
        assert sign not in "⟦⟧"


def test_brackets_cannot_pretend_to_be_an_escape() -> None:
    assert visible.show("⟦NUL⟧".encode()).text == "⟦U+27E6⟧NUL⟦U+27E7⟧"
    assert visible.show_text("two\nlines\x07") == "two\nlines⟦BEL⟧"
