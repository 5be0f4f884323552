"""The WSGI application; refuses unsafe settings, limits statements and starts the watchdog thread."""

import gc
import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moovitamix.settings")
application = get_wsgi_application()

# Imported after the app registry is ready, because they need the models.
from moovitamix.backends.database_limits import limit_web_statements  # noqa: E402
from moovitamix.background import watchdog_thread  # noqa: E402
from moovitamix.checks import require_safe_settings  # noqa: E402

require_safe_settings()
limit_web_statements()
if settings.WATCHDOG_IN_WEB:
    watchdog_thread.start_watchdog()
# What was imported stays until the process ends. Looking through it again and again, in search of unused
# cycles, took a tenth of a request's time.
gc.collect()
gc.freeze()
