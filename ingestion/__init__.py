"""Imports the data from the source and reports how each run went."""
