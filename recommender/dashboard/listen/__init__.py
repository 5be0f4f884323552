"""The listener page: recommendations, reasons, and answers."""
