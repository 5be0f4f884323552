"""Decisions on tests: made from numbers, stored with all they rest on, made again when somebody asks."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from recommender.engine.experiments import decision_rules, interleaving_credit, sequential
from recommender.engine.experiments.decision_rules import USUAL, Evidence, Rules, Verdict, verdict
from recommender.experiments import interleaving_scores
from recommender.models import Decision, Experiment, Promotion

DECIDING: Final = (interleaving_credit, sequential, interleaving_credit, decision_rules)


@dataclass(frozen=True)
class Replayed:
    """A decision made again.

    Attributes:
        same: whether it came out the same, byte for byte.
        code_changed: whether the code that decides is another by now.
        data_changed: whether the lists that were counted are, as when a listener was deleted since. What they
            came to is stored, and decided on again; they themselves can't be counted again.
        stored, found: the verdicts as JSON.
    """

    same: bool
    code_changed: bool
    data_changed: bool
    stored: bytes
    found: bytes


def decide(
    experiment: Experiment, evidence: Evidence, data_sha256: str, now: datetime, rules: Rules = USUAL
) -> tuple[Decision, Verdict]:
    """Decide and store what it rested on.

    Args:
        data_sha256: `scoring.digest_of` the lists that the evidence counts.
    """
    found = verdict(evidence, rules)
    decision = Decision.objects.create(
        experiment=experiment, at=now, evidence=evidence.as_json(), rules=asdict(rules),
        verdict=told(found), outcome=found.outcome, code=code_digest(), data_sha256=data_sha256,
    )  # fmt: skip
    return decision, found


def seal(decision: Decision, promotion: Promotion | None = None) -> None:
    """Mark the decision as the one that ended its test, with what it did."""
    decision.final, decision.promotion = True, promotion
    decision.save(update_fields=["final", "promotion"])


def replay(decision: Decision) -> Replayed:
    """Make a decision again from what was stored with it."""
    found = verdict(Evidence.from_json(decision.evidence), Rules(**decision.rules))
    stored, again = as_bytes(decision.verdict), as_bytes(told(found))
    return Replayed(
        stored == again, decision.code != code_digest(), _data_digest(decision) != decision.data_sha256,
        stored, again,
    )  # fmt: skip


def _data_digest(decision: Decision) -> str:
    """Of the lists that it counted, as far as they are still there."""
    if decision.experiment is None:
        return ""
    return interleaving_scores.digest_of(
        interleaving_scores.scores_of(decision.experiment, until=decision.at)
    )


def told(found: Verdict) -> dict[str, Any]:
    """A verdict as JSON can hold it."""
    return {"outcome": str(found.outcome), "reason": found.reason, "numbers": found.numbers}


def as_bytes(found: Mapping[str, Any]) -> bytes:
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS)


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Of the modules that decide, as they stand on the disk."""
    digest = sha256()
    for module in DECIDING:
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()
