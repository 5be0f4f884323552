"""Trains and evaluates model versions on the database's songs, listeners and events."""
