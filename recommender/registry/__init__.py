"""Model versions: their roles, their files, and loading the one that serves."""
