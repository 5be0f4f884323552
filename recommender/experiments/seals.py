"""Seals ended experiments: stores the sums of their rows, which retention may delete afterwards."""

from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256
from typing import Any

import orjson
from django.db.models import Count, Sum

from recommender.engine.experiments.decision_thresholds import DecisionRules
from recommender.engine.experiments.evidence import ExperimentEvidence
from recommender.experiments import interleaving_scores, statistics
from recommender.models import Decision, Experiment, ExperimentSeal, ScoredList, ServedList


@dataclass(frozen=True)
class DecisionCount:
    evidence: dict[str, Any]  # as in `ExperimentEvidence.as_json`; what is not counted from rows is empty
    data_sha256: str  # of the counted lists


def count_decision(decision: Decision, experiment: Experiment) -> DecisionCount:
    rules, stored = DecisionRules(**decision.rules), ExperimentEvidence.from_json(decision.evidence)
    counted, scores = statistics.count_rows(experiment, decision.at, rules=rules, tested=stored.tested)
    return DecisionCount(counted.as_json(), interleaving_scores.hash_scores(scores))


def seal_experiment(experiment: Experiment, now: datetime) -> ExperimentSeal:
    """Store an ended experiment's daily sums with their digest; all rows must still exist."""
    counted = {decision: count_decision(decision, experiment) for decision in experiment.decisions.all()}
    sums = {
        "days": [{**day, "day": day["day"].isoformat()} for day in count_days(experiment)],
        "arms": count_arms(experiment),
        "decisions": {
            str(decision.pk): {"evidence": count.evidence, "data_sha256": count.data_sha256}
            for decision, count in counted.items()
        },
    }
    text = orjson.dumps(sums, option=orjson.OPT_SORT_KEYS).decode()
    return ExperimentSeal.objects.create(
        experiment=experiment, sealed_at=now, sums=text, sha256=_digest(text)
    )


def is_intact(seal: ExperimentSeal) -> bool:
    return _digest(seal.sums) == seal.sha256


def sealed_decision(seal: ExperimentSeal, decision: Decision) -> DecisionCount | None:
    """The evidence and the data hash that the seal stores for the decision; None if it stores none."""
    found = orjson.loads(seal.sums)["decisions"].get(str(decision.pk))
    if found is None:
        return None
    evidence = ExperimentEvidence.from_json(found["evidence"])
    return DecisionCount(evidence.as_json(), found["data_sha256"])


def sealed_days(seal: ExperimentSeal) -> list[dict[str, Any]]:
    days = orjson.loads(seal.sums)["days"]
    return [{**day, "day": date.fromisoformat(day["day"])} for day in days]


def sealed_arms(seal: ExperimentSeal) -> list[dict[str, Any]]:
    arms: list[dict[str, Any]] = orjson.loads(seal.sums)["arms"]
    return arms


def count_days(experiment: Experiment) -> list[dict[str, Any]]:
    """Lists, closed lists, and rounds won and lost by the challenger, by day."""
    rows = ScoredList.objects.filter(experiment=experiment).values("day")
    counted = rows.annotate(
        lists=Count("pk"), closed=Count("closed_at"), wins=Sum("wins"), losses=Sum("losses")
    )
    return [dict(row) for row in counted.order_by("day")]


def count_arms(experiment: Experiment) -> list[dict[str, Any]]:
    served = ServedList.objects.filter(experiment=experiment).values("arm")
    # Counting the arm instead of the primary key needs only the index.
    found = served.annotate(lists=Count("arm"), listeners=Count("listener", distinct=True))
    return [dict(row) for row in found.order_by("arm")]


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
