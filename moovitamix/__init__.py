"""The Django project: settings, routes, pages and the commands that need both apps."""

from moovitamix.celery import app as celery_app

__all__ = ("celery_app",)
