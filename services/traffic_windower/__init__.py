"""Records traffic exactly: rows, panes, samples and offsets in one transaction."""
