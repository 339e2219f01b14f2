"""The cases that a gate asks: captured ones, the golden set, and their graders."""
