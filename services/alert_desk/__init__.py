"""Turns verdicts into one alert and its notices; people acknowledge it."""
