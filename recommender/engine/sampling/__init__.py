"""Draws a list from scored candidates, with exact propensities."""
