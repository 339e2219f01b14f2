"""What the processes need from the outside, in the words of ``flywheel``: one page per stretch of the loop."""
