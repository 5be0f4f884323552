"""Background components: Beat's scheduler, the measured Celery task, the watchdog in web processes."""
