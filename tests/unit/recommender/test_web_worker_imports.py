"""A web process serves and never loads the training code."""

import subprocess
import sys

import pytest

LOADED = """
import django, sys
django.setup()
import moovitamix.urls
from django.conf import settings
from django.utils.module_loading import import_string
# A thread of each web process runs the watchdog.
for path in (*settings.WATCHDOG_CHECKS, *settings.WATCHDOG_HOST_CHECKS):
    import_string(path)
unwanted = {"recommender.training.evaluation", "recommender.training.train", "sklearn", "scipy.stats"}
print(sorted(unwanted.intersection(sys.modules)))
"""


@pytest.mark.slow
def test_the_routes_and_the_watchdog_import_no_training_code() -> None:
    # Some 80 MB and a second for each web process.
    ran = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=600, check=True
    )

    assert ran.stdout == "[]\n"
