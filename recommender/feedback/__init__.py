"""Feedback events, and engagement with served lists."""
