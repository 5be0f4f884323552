"""Draws lists from scored candidates, with exact propensities; interleaves two models; stores candidates."""
