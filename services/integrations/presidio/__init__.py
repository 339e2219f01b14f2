"""Presidio: finds personal data in text."""
