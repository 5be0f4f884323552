"""The web application, for any WSGI server; with it comes the watchdog."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moovitamix.settings")
application = get_wsgi_application()

# Only now are the models there.
from moovitamix import watchdog_thread  # noqa: E402

if settings.WATCHDOG_IN_WEB:
    watchdog_thread.start_watchdog()
