"""What the watchdog looks at: each check reports what is wrong, and ends what is not any more."""
