"""What acts: one folder per process, one file per foreign system in ``adapters``, one page of ports per stretch of the loop."""
