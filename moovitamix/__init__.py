"""The project: settings, timetable, routes and the commands that join both rooms."""

from moovitamix.celery import app as celery_app

__all__ = ("celery_app",)
