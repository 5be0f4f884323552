"""App 2: train models on listening history, serve recommendations, and test new models on feedback."""
