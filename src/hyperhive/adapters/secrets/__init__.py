"""Short secrets of the host."""
