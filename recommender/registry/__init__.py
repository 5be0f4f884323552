"""Model versions: their roles, their files, and loading of the version that serves."""
