"""Logins and the headers of every answer: throttles, lock-outs, two-factor logins, content security."""
