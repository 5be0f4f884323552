"""English labels of models, for what is stored, logged, printed or served by the API.

Labels on pages follow the reader's language: see moovitamix/languages.py.
"""

from typing import Final

from django.db.models import Model
from django.utils import translation

ENGLISH: Final = "en"


def english_label(row: Model, field: str) -> str:
    """The label of the field's choice; empty if the field is empty."""
    with translation.override(ENGLISH):
        return str(getattr(row, f"get_{field}_display")())


def english_plural(model: type[Model]) -> str:
    with translation.override(ENGLISH):
        return str(model._meta.verbose_name_plural)


def english_name(row: Model) -> str:
    """The row as text."""
    with translation.override(ENGLISH):
        return str(row)
