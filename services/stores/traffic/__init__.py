"""traffic.db: recorded rows, panes, consumer positions and dead letters."""
