"""What keeps an installation running: health, backups, personal data."""
