"""Forges that keep a copy of the configuration repositories."""
