"""Verbs over facts."""
