"""What runs beside requests and commands: Beat, the measured Celery task, the watchdog in web processes."""
