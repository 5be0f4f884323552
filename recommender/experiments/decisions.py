"""Store decisions on experiments with their evidence, rules and code digest, and replay them."""

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
    """A stored verdict, and the verdict from the same evidence and rules by today's code."""

    same: bool  # whether both verdicts are the same, byte for byte
    code_changed: bool  # whether a module with decision rules has changed since the decision
    # Whether the counted lists have changed since the decision, for example because a listener was deleted.
    # The replay still works, since it uses the stored totals.
    data_changed: bool
    stored: bytes  # the stored verdict as JSON; `found` is the new one
    found: bytes


def store_decision(
    experiment: Experiment,
    evidence: ExperimentEvidence,
    data_sha256: str,
    now: datetime,
    rules: DecisionRules = DEFAULT_RULES,
) -> tuple[Decision, ExperimentVerdict]:
    """Apply the rules to the evidence, and store the verdict with both.

    Args:
        data_sha256: `interleaving_scores.hash_scores` of the lists that the evidence counts.
    """
    verdict = apply_decision_rules(evidence, rules)
    decision = Decision.objects.create(
        experiment=experiment,
        at=now,
        evidence=evidence.as_json(),
        rules=asdict(rules),
        verdict=verdict_as_json(verdict),
        outcome=verdict.outcome,
        code=decision_code_digest(),
        data_sha256=data_sha256,
    )
    return decision, verdict


def mark_final(decision: Decision, promotion: Promotion | None = None) -> None:
    decision.final, decision.promotion = True, promotion
    decision.save(update_fields=["final", "promotion"])


def replay_decision(decision: Decision) -> DecisionReplay:
    """Apply the stored rules to the stored evidence again, and compare the verdicts."""
    verdict = apply_decision_rules(
        ExperimentEvidence.from_json(decision.evidence), DecisionRules(**decision.rules)
    )
    stored, found = canonical_json(decision.verdict), canonical_json(verdict_as_json(verdict))
    return DecisionReplay(
        stored == found,
        decision.code != decision_code_digest(),
        _counted_lists_digest(decision) != decision.data_sha256,
        stored,
        found,
    )


def _counted_lists_digest(decision: Decision) -> str:
    if decision.experiment is None:
        return ""
    return interleaving_scores.hash_scores(
        interleaving_scores.read_closed_scores(decision.experiment, until=decision.at)
    )


def verdict_as_json(verdict: ExperimentVerdict) -> dict[str, Any]:
    return {"outcome": str(verdict.outcome), "reason": verdict.reason, "numbers": verdict.numbers}


def canonical_json(verdict: Mapping[str, Any]) -> bytes:
    return orjson.dumps(verdict, option=orjson.OPT_SORT_KEYS)


@lru_cache(maxsize=1)
def decision_code_digest() -> str:
    digest = sha256()
    for module in DECISION_MODULES:
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()
