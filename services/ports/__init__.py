"""What the processes need from the outside, in the words of ``flywheel``: one file for each of its folders."""
