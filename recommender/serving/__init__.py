"""Answers a request for recommendations: candidates, draw, explanation, stored list."""
