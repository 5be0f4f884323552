"""Draws, interleaves and encodes lists."""
