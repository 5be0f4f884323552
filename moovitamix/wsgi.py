"""The WSGI application; also starts the watchdog thread."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moovitamix.settings")
application = get_wsgi_application()

# Imported after the app registry is ready, because it needs the models.
from moovitamix.background import watchdog_thread  # noqa: E402

if settings.WATCHDOG_IN_WEB:
    watchdog_thread.start_watchdog()
