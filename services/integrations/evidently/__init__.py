"""Evidently: drift scores and pages from a worker process of its own."""
