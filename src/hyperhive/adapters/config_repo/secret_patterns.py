"""Recognises secrets in what is about to be pinned, shown and mirrored.

A net, not a control: whoever wants to hide a secret encodes it. It catches what happens by
mistake, before the mistake is published. Kinds are named, values never leave this module.
"""

from __future__ import annotations

import re
from typing import Final

_SHAPES: Final[tuple[tuple[str, bytes, bytes], ...]] = (
    ("a private key", b"-----BEGIN ", rb"(?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
    ("a PuTTY private key", b"PuTTY-User-Key-File-", rb"[23]:"),
    ("an age private key", b"AGE-SECRET-KEY-1", rb"[0-9A-Z]{50}"),
    ("an Anthropic key", b"sk-ant-", rb"[A-Za-z0-9_-]{16}"),
    ("an OpenAI key", b"sk-", rb"(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20}"),
    ("an OpenAI key", b"T3BlbkFJ", rb"(?<=[A-Za-z0-9]{20}T3BlbkFJ)[A-Za-z0-9]{16}"),
    *(("a GitHub token", b"gh%c_" % kind, rb"[A-Za-z0-9]{30}") for kind in b"pousr"),
    ("a GitHub token", b"github_pat_", rb"[A-Za-z0-9_]{30}"),
    ("a GitLab token", b"glpat-", rb"[A-Za-z0-9_-]{20}"),
    ("an AWS access key", b"AKIA", rb"(?<![A-Z0-9]AKIA)[0-9A-Z]{16}(?![0-9A-Z])"),
    ("an AWS access key", b"ASIA", rb"(?<![A-Z0-9]ASIA)[0-9A-Z]{16}(?![0-9A-Z])"),
    ("a Google API key", b"AIza", rb"[0-9A-Za-z_-]{35}"),
    ("a Google OAuth secret", b"GOCSPX-", rb"[0-9A-Za-z_-]{20}"),
    ("a Slack token", b"xox", rb"[abeoprs]-[0-9A-Za-z-]{16}"),
    ("a Slack webhook", b"hooks.slack.com/services/T", rb"[0-9A-Z]{6,12}/B[0-9A-Z]{6,12}/"),
    ("a Stripe key", b"k_live_", rb"[0-9A-Za-z]{16}"),
    ("a SendGrid key", b"SG.", rb"[0-9A-Za-z_-]{20,24}\.[0-9A-Za-z_-]{20}"),
    ("an npm token", b"npm_", rb"[A-Za-z0-9]{36}"),
    ("a Python package index token", b"pypi-AgE", rb"[A-Za-z0-9_-]{40}"),
    ("a Hugging Face token", b"hf_", rb"[A-Za-z]{30}"),
    ("a Telegram bot token", b":AA", rb"(?<=[0-9]{8}:AA)[A-Za-z0-9_-]{33}"),
    ("a JSON web token", b".eyJ", rb"[A-Za-z0-9_-]{10,600}\.[A-Za-z0-9_-]{20}"),
    ("an Authorization header", b"uthorization:",
     rb"\s?(?i:bearer|token|basic)\s[A-Za-z0-9+/._~-]{20}"),
    ("a password in a URL", b"://", rb"[^\s/:@\"'<>]{1,64}:(?![$<{%*])[^\s/:@\"'<>]{8,128}@"),
)  # fmt: skip
_KNOWN: Final = tuple(
    # The pattern begins with its literal, so that searching is a search for that.
    (kind, literal, re.compile(re.escape(literal) + rest))
    for kind, literal, rest in _SHAPES
)


def find(content: bytes) -> str | None:
    """Return what kind of secret *content* holds; None when none was recognised.

    Text in UTF-16 is searched too: there, every second byte of a token is zero.
    """
    texts = [content]
    if b"\0" in content:
        texts.append(content.replace(b"\0", b""))
    for kind, literal, pattern in _KNOWN:
        for text in texts:
            if literal in text and pattern.search(text) is not None:
                return kind
    return None
