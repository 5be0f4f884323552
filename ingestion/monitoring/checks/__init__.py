"""Health checks that the watchdog runs every minute."""
