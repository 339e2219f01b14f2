"""Process: redacts, joins, diagnoses, splits and accepts corrections."""
