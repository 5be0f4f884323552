"""Incidents and the notifications about them: what is wrong, who is notified, through which channel."""
