"""Counts that add up: panes, windows and bounded samples."""
