"""Room 1: bring the data in, and say how it went."""
