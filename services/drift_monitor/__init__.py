"""Closes windows, judges them, and stores Evidently's scores with the verdicts."""
