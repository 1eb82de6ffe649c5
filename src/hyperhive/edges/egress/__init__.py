"""The egress proxy: the only way from a sandbox to the network, closed unless allowed."""

from hyperhive.edges.egress.proxy import EgressProxy
from hyperhive.edges.egress.rules import parse_rules

__all__ = ["EgressProxy", "parse_rules"]
