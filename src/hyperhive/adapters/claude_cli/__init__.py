"""The pinned claude program: got once, checked, kept in the cache as one file."""
