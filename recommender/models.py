"""The tables of the recommender room."""
