"""Interfaces of the processes to stores and external systems, in the types of ``flywheel``: one file for each of its folders."""
