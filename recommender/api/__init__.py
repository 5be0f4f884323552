"""REST endpoints for recommendations, feedback, clusters, models and experiments."""
