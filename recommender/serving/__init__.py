"""Serves recommendations: candidates, draw, explanation and stored list."""
