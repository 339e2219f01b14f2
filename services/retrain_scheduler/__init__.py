"""Asks every few seconds whether to train; queues the run."""
