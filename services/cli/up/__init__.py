"""flywheel up: starts every process, watches them and ends them in order."""
