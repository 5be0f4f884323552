"""Background components: Beat's scheduler, the Celery task class, the watchdog thread of web processes."""
