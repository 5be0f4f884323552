"""Feedback events, and the engagement with served lists that results from them."""
