"""Faults that the demo source injects into rows and HTTP responses."""
