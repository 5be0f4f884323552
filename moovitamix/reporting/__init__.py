"""What the service writes about itself: logs, error reports, errors of commands."""
