"""Faults done to the software on purpose, many of them: `make faults`."""
