"""Train and evaluate model versions on the database's songs, listeners and events."""
