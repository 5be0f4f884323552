"""Answer requests for recommendations: candidates, draw, explanation and stored list."""
