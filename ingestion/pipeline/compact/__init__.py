"""Millions of ids, times and page counts in few bytes for each."""
