"""The language of pages, of the API and of labels of models."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from django.apps import apps
from django.http import HttpRequest, HttpResponseBase
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext_lazy

API_LANGUAGE: Final = "en"
# Programs read these: their texts are in one language, independent of what the client prefers.
API_PATHS: Final = ("/api/", "/health/", "/metrics")
DOCUMENTATION: Final = "/api/docs/"
# Apps whose models have labels that no translation function has marked.
OUR_APPS: Final = ("ingestion", "recommender")
LABELLED_APPS: Final = (*OUR_APPS, "otp_totp", "django_celery_beat", "django_celery_results")

# By app: the labels in English, which the catalogues must have.
MARKED_LABELS: Final[defaultdict[str, set[str]]] = defaultdict(set)


def language_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Show pages in the language that the browser prefers among LANGUAGES, otherwise in LANGUAGE_CODE."""

    def respond(request: HttpRequest) -> HttpResponseBase:
        path = request.path_info
        if path.startswith(API_PATHS) and path != DOCUMENTATION:
            with translation.override(API_LANGUAGE):
                return get_response(request)
        language = translation.get_language_from_request(request)
        with translation.override(language):
            response = get_response(request)
        response.headers.setdefault("Content-Language", language)
        patch_vary_headers(response, ("Accept-Language",))
        return response

    return respond


def translate_model_labels() -> None:
    """Let the names, help texts and choices of models follow the active language.

    Most names are derived from the fields' names, so that models need not repeat each field to translate it.
    """
    for app in LABELLED_APPS:
        for model in apps.get_app_config(app).get_models():
            options = model._meta
            if isinstance(options.verbose_name, str):
                # The plural is derived from it, with an "s" that only suits English.
                options.verbose_name_plural = _mark(str(options.verbose_name_plural), app)
            options.verbose_name = _mark(options.verbose_name, app)
            for field in options.local_fields:
                field.verbose_name = _mark(field.verbose_name, app)
                field.help_text = _mark(field.help_text, app)
                if field.choices and app in OUR_APPS:
                    field.choices = [(value, _mark(label, app)) for value, label in field.flatchoices]


def _mark(label: Any, app: str) -> Any:
    """The label's translation; the label itself if it is empty, or if its package has marked it already."""
    if not isinstance(label, str) or not label:
        return label
    MARKED_LABELS[app].add(str(label))
    return gettext_lazy(str(label))
