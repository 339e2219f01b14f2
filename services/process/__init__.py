"""What every process is made of: names, start and stop, child processes, the machine it runs on."""
