"""What others made: one package per foreign system."""
