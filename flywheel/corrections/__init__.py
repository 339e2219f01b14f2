"""Corrections of production failures: join, diagnosis, duplicates, contradictions, review, split."""
