"""What a web process loads: it serves and asks, and learns nothing."""

import subprocess
import sys

import pytest

LOADED = """
import django, sys
django.setup()
import moovitamix.urls
unwanted = {"recommender.training.evaluation", "recommender.training.train", "sklearn"}
print(sorted(unwanted.intersection(sys.modules)))
"""


@pytest.mark.slow
def test_the_routes_load_nothing_that_trains() -> None:
    # Some 60 MB and half a second for each web process.
    ran = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=600, check=True
    )

    assert ran.stdout == "[]\n"
