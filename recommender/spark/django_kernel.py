"""A kernel of `Engine.map_rows` that uses Django's models."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import django
from django.apps import apps


@dataclass(frozen=True)
class DjangoKernel:
    """Calls a function with some arguments and the ids, after setting Django up, if a worker has not."""

    module: str
    function: str
    arguments: tuple[Any, ...]

    def __call__(self, ids: Sequence[int]) -> list[Any]:
        if not apps.ready:
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moovitamix.settings")
            django.setup()
        rows: list[Any] = getattr(import_module(self.module), self.function)(*self.arguments, ids)
        return rows
