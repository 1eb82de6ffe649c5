"""Every setting is explained, and every variable sets a setting."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import pathlib

from hyperhive import settings

SOURCE = pathlib.Path(settings.__file__)


def test_every_setting_has_a_sentence() -> None:
    tree = ast.parse(SOURCE.read_text())
    [body] = [node.body for node in tree.body if isinstance(node, ast.ClassDef)]
    explained = {
        field.target.id
        for field, after in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }
    assert {field.name for field in dataclasses.fields(settings.Settings)} == explained


def test_secrets_do_not_show_in_a_repr(tmp_path: pathlib.Path) -> None:
    loaded = settings.load(
        {"ANTHROPIC_API_KEY": "sk-secret", "CLAUDE_CODE_OAUTH_TOKEN": "tk-secret"},
        {"home": tmp_path},
    )
    assert (loaded.api_key, loaded.auth_token) == ("sk-secret", "tk-secret")
    assert "secret" not in repr(loaded).replace("secrets", "")
