"""A web process serves and never loads the training code."""

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
def test_the_routes_import_no_training_code() -> None:
    # Some 60 MB and half a second for each web process.
    ran = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=600, check=True
    )

    assert ran.stdout == "[]\n"
