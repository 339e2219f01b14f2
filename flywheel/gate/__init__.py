"""Does the server use the trained weights, and is the adapter better? Three verdicts; ``cannot_tell`` never passes."""
