"""Model versions: roles, files, loading."""
