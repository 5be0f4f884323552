"""Trains models on listening history, serves recommendations, and tests new models on feedback."""
