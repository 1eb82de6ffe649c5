"""Loops that look at the facts and move the world."""
