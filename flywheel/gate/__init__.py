"""Is the adapter applied, and is it better? Three verdicts; cannot tell never passes."""
