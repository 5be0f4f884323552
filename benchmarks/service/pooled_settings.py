"""The settings with a pool of connections in each web process, in place of one for each thread."""

from moovitamix.settings import *  # noqa: F403
from moovitamix.settings import DATABASES

# As many as threads: fewer make requests wait for a connection.
DATABASES["default"]["CONN_MAX_AGE"] = 0
DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 2, "max_size": 8, "timeout": 10}
