"""Serves recommendations."""
