"""The songs that a list is drawn from: by the model or without it, and the prepared candidate lists."""
