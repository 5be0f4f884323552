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
from recommender.engine.experiments.decision_rules import (
    DEFAULT_RULES,
    DecisionRules,
    ExperimentEvidence,
    ExperimentVerdict,
    apply_decision_rules,
)
from recommender.experiments import interleaving_scores
from recommender.models import Decision, Experiment, Promotion

DECISION_MODULES: Final = (interleaving_credit, sequential, decision_rules)


@dataclass(frozen=True)
class DecisionReplay:
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


def store_decision(
    experiment: Experiment,
    evidence: ExperimentEvidence,
    data_sha256: str,
    now: datetime,
    rules: DecisionRules = DEFAULT_RULES,
) -> tuple[Decision, ExperimentVerdict]:
    """Decide and store what it rested on.

    Args:
        data_sha256: `scoring.digest_of` the lists that the evidence counts.
    """
    found = apply_decision_rules(evidence, rules)
    decision = Decision.objects.create(
        experiment=experiment,
        at=now,
        evidence=evidence.as_json(),
        rules=asdict(rules),
        verdict=verdict_as_json(found),
        outcome=found.outcome,
        code=decision_code_digest(),
        data_sha256=data_sha256,
    )
    return decision, found


def mark_final(decision: Decision, promotion: Promotion | None = None) -> None:
    """Mark the decision as the one that ended its test, with what it did."""
    decision.final, decision.promotion = True, promotion
    decision.save(update_fields=["final", "promotion"])


def replay_decision(decision: Decision) -> DecisionReplay:
    """Make a decision again from what was stored with it."""
    found = apply_decision_rules(
        ExperimentEvidence.from_json(decision.evidence), DecisionRules(**decision.rules)
    )
    stored, again = canonical_json(decision.verdict), canonical_json(verdict_as_json(found))
    return DecisionReplay(
        stored == again,
        decision.code != decision_code_digest(),
        _counted_lists_digest(decision) != decision.data_sha256,
        stored,
        again,
    )


def _counted_lists_digest(decision: Decision) -> str:
    """Of the lists that it counted, as far as they are still there."""
    if decision.experiment is None:
        return ""
    return interleaving_scores.hash_scores(
        interleaving_scores.read_closed_scores(decision.experiment, until=decision.at)
    )


def verdict_as_json(found: ExperimentVerdict) -> dict[str, Any]:
    """A verdict as JSON can hold it."""
    return {"outcome": str(found.outcome), "reason": found.reason, "numbers": found.numbers}


def canonical_json(found: Mapping[str, Any]) -> bytes:
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS)


@lru_cache(maxsize=1)
def decision_code_digest() -> str:
    """Of the modules that decide, as they stand on the disk."""
    digest = sha256()
    for module in DECISION_MODULES:
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()
