"""From a captured failure and its fix to an accepted case: join, diagnose, duplicates, contradictions, review, split."""
