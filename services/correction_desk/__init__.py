"""Joins, diagnoses, splits and accepts corrections."""
