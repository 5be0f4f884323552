"""Faults that the demo source can inject, in rows and in HTTP responses."""
