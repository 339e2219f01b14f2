"""``flywheel migrate``."""
