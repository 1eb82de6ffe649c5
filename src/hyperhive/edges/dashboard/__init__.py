"""The operator's page: one origin on loopback, signed in, live.

Everything a browser gets comes from here. Nothing that an agent wrote is ever
served as anything but JSON data.
"""

from hyperhive.edges.dashboard.server import Dashboard

__all__ = ["Dashboard"]
