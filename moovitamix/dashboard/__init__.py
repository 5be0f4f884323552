"""The operations pages: overview, run page, and the admin's index and menu."""
