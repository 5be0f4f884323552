"""Recommendation algorithms beside the default `mix`: cluster draws (`classic`) and baselines."""
