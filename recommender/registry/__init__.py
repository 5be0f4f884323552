"""Model versions: roles, files, and loading of the version that serves."""
