"""Keeps the services' log lines out of a benchmark's output."""

import logging

import structlog


def only_errors() -> None:
    """In this process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
