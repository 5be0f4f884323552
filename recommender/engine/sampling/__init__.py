"""Draws lists from scored candidates, interleaves two models, and encodes candidate lists."""
