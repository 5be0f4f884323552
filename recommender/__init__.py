"""Room 2: learn, serve, listen, learn again."""
