"""Models: ranking quality, the cost of training, what listeners see."""
