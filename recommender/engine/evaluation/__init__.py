"""Offline evaluation: temporal split, ranking metrics, off-policy estimates."""
