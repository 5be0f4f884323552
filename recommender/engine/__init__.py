"""The recommendation engine: clustering, scoring, sampling, evaluation. numpy in, numpy out; no Django."""
