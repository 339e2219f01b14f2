"""Turns drift verdicts into alerts and sends notifications."""
