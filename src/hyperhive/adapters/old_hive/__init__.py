"""Reads the home of the older hyperhive."""
