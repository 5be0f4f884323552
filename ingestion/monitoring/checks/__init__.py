"""Health checks that the watchdog runs every minute (settings.WATCHDOG_CHECKS)."""
