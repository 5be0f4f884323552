"""The recommendation engine: clustering, scoring, sampling and evaluation with numpy, without Django."""
