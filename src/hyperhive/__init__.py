"""hyperhive: a host daemon that runs a swarm of coding agents."""

__version__ = "0.1.0"
