"""Closes windows, judges them, keeps Evidently's report beside the verdict."""
