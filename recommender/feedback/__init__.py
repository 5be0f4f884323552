"""Feedback events, and the engagement with served lists that follows from them."""
