"""The project's settings with only the plain view."""

from moovitamix.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.service.plain_view"
