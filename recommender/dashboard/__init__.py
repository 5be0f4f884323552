"""Staff pages: /models/, experiment reports and the recommendation preview."""
