"""Options and reporting shared by the commands `promote` and `rollback`."""

import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion.management.base import require_migrations
from recommender.engine.artifact import ArtifactError
from recommender.models import Promotion
from recommender.registry.registry import RegistryError


def add_promotion_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--reason", required=True, help="stored with the promotion")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def change_champion(change: Callable[[], Promotion], command: BaseCommand, *, as_json: bool) -> None:
    """Call `change` and print its promotion.

    Raises:
        CommandError: the change failed; the champion is the same.
    """
    require_migrations()
    try:
        promotion = change()
    except (RegistryError, ArtifactError) as error:
        message = f"{error} Nothing was changed."
        if as_json:
            command.stdout.write(json.dumps({"error": message}))
        raise CommandError(message) from error
    facts = _promotion_as_json(promotion)
    command.stdout.write(json.dumps(facts) if as_json else _describe_promotion(promotion))


def _promotion_as_json(promotion: Promotion) -> dict[str, Any]:
    return {
        "promoted": promotion.promoted.label,
        "replaced": promotion.replaced.label if promotion.replaced else None,
        "rollback": promotion.rollback,
        "reason": promotion.reason,
        "by": promotion.by,
        "at": promotion.at.isoformat(),
    }


def _describe_promotion(promotion: Promotion) -> str:
    if promotion.rollback:
        return f"{promotion.replaced} is withdrawn; {promotion.promoted.label} is champion again."
    instead = f" instead of {promotion.replaced.label}" if promotion.replaced else ""
    return f"{promotion.promoted.label} is champion{instead}."
