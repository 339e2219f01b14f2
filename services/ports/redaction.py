"""Redaction of personal data. A port of its own, so that importing it costs nothing."""

from typing import Protocol


class Redactor(Protocol):
    """Finds personal data and replaces it by keyed pseudonyms."""

    def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
        """The text with pseudonyms, and how many findings were replaced. ``names``: of people, known from what stands around the text."""
