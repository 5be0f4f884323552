"""The project's settings with the plain view alone behind the routes."""

from moovitamix.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.processes.plain_view"
