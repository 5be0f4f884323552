"""Django app configuration of the recommender."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy


class RecommenderConfig(AppConfig):
    name = "recommender"
    verbose_name = gettext_lazy("Recommender")
