"""Functions that keep an installation running: health, backups, personal data."""
