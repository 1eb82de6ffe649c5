"""The scanner finds every key that `tomllib` reads, on its line."""

from __future__ import annotations

import time
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hyperhive.services import toml_lines

DOCUMENT = '''\
# [not.a.table]
schema = 1
"quoted key" = "a # b"   # c
'literal.key' = 'x = ["y"]'
a.b . "c d" = [1, 2,
  [3, "]"],  # ] }
  { k = "}", l = [ "," ] },
]
text = """
[no]
no = 1 \\"""
""" # end
lit = \'\'\'
x = 1
\'\'\'\'
when = 1979-05-27T07:32:00Z

[one]
empty = []
[one.two]
k = true
[[many]]
name = "first"
[many.inner]
z = 1
[[many]]
name = "second"
[[many.deep]]
w = 1
[[many.deep]]
w = 2
'''


def paths(value: Any, at: toml_lines.Path = ()) -> set[toml_lines.Path]:
    """Every path to a value of a document as `tomllib` read it."""
    found = {at} if at else set[toml_lines.Path]()
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= paths(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found |= paths(inner, (*at, index))
    return found


def test_a_document_with_everything() -> None:
    lines = toml_lines.find(DOCUMENT)
    assert set(lines) == paths(tomllib.loads(DOCUMENT))
    source = DOCUMENT.splitlines()
    assert lines["schema",] == 2
    assert source[lines["a", "b", "c d", 2, 1] - 1].strip().startswith("[3,")
    assert source[lines["a", "b", "c d", 3, "l", 0] - 1].strip().startswith("{ k")
    assert source[lines["when",] - 1].startswith("when")
    assert source[lines["one", "two", "k"] - 1] == "k = true"
    assert source[lines["many", 1, "name"] - 1] == 'name = "second"'
    assert source[lines["many", 1, "deep", 1, "w"] - 1] == "w = 2"
    assert source[lines["many", 0, "inner", "z"] - 1] == "z = 1"


def test_a_document_that_is_only_deep_or_long_is_read_in_a_moment() -> None:
    deep = ".".join("a" * 15_000)
    for text in (
        f"{deep} = 1",
        f"[{deep}]\nx = 1",
        "x = [" + "1," * 30_000 + "]",
        "\n".join(f"[a{number}]" for number in range(8_000)),
        "x = " + "[" * 200 + "]" * 200,
        'x = """' + '\\\\"' * 15_000 + '"""',
    ):
        tomllib.loads(text)
        began = time.process_time()
        lines = toml_lines.find(text)
        assert time.process_time() - began < 2
        assert max(map(len, lines)) <= toml_lines.DEPTH


_keys = st.sampled_from(["a", "b-1", '"q # = ["', "'l.\"'", "a.b", 'x . "y"', "c"])
_gap = st.sampled_from(["", " ", "\n", " # ]}\n", "\t"])
_scalars = st.sampled_from(
    ['"s"', '"]#"', "'\\'", '"\\""', '"""m\n]"x""""', "'''l\n[x]\n'''", "1", "-1.5e3", "true",
     "2026-11-23", "07:32:00", '""', "''", '""""""', '"\\\\"']
)  # fmt: skip


def _arrays(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    element = st.tuples(_gap, inner, _gap).map("".join)
    array = st.lists(element, max_size=3).map(lambda all_: "[" + ",".join(all_) + "]")
    pairs = st.lists(st.tuples(_keys, inner), max_size=3).map(
        lambda all_: "{" + ",".join(f" {key} = {value} " for key, value in all_) + "}"
    )
    return array | pairs


_values = st.recursive(_scalars, _arrays, max_leaves=8)
_lines = st.one_of(
    st.tuples(_keys, _values).map(lambda pair: f" {pair[0]} = {pair[1]} # note"),
    _keys.map(lambda key: f"[{key}]"),
    _keys.map(lambda key: f"[[ {key} ]] # x"),
    st.sampled_from(["", "# comment = 1", "  # [x]"]),
)


@given(st.lists(_lines, max_size=12).map("\n".join))
def test_every_path_of_every_valid_document(text: str) -> None:
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = toml_lines.find(text)
    assert set(lines) == paths(read)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())
