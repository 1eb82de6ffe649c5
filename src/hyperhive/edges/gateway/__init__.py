"""The model gateway: the only way from a sandbox to a model, and where credentials are added."""

from hyperhive.edges.gateway.gateway import Gateway
from hyperhive.edges.gateway.upstream import (
    Upstream,
    api_key_upstream,
    open_upstream,
    token_upstream,
)

__all__ = ["Gateway", "Upstream", "api_key_upstream", "open_upstream", "token_upstream"]
