"""Configuration repositories in git: import, applied repositories, meta, export."""
