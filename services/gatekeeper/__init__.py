"""Asks the arms and decides the gate."""
