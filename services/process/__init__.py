"""Common parts of all processes: names, start and stop, child processes, the machine."""
