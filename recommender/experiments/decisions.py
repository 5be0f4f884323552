"""Stores decisions with their evidence, rules and code digest, and replays them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from recommender.engine.experiments import (
    decision_rules,
    decision_thresholds,
    interleaving_credit,
    rules_version_1,
    sequential,
)
from recommender.engine.experiments import (
    evidence as evidence_module,
)
from recommender.engine.experiments.decision_rules import apply_decision_rules
from recommender.engine.experiments.decision_thresholds import (
    DEFAULT_RULES,
    RULES_VERSION_1,
    RULES_VERSION_2,
    RULES_VERSION_3,
    DecisionRules,
)
from recommender.engine.experiments.evidence import (
    DecisionOutcome,
    ExperimentEvidence,
    ExperimentVerdict,
)
from recommender.experiments import seals
from recommender.experiments.seals import DecisionCount
from recommender.models import Decision, Experiment, ExperimentSeal, Promotion

DECISION_MODULES: Final = (
    interleaving_credit, sequential, evidence_module, decision_thresholds, rules_version_1, decision_rules,
)  # fmt: skip
# A test compares it with the modules. If they change, and stored decisions still get the same verdicts, the
# digest of the last release joins those below.
CODE_OF_THIS_VERSION: Final = "6081b4d94def1b722492916f709576df6839b3e6a68390608a6c9f54fa50f37d"
# Code of earlier releases, whose rules are kept by version.
CODE_OF_EARLIER_VERSIONS: Final = frozenset(
    {
        "281142a5c92b0a5727a8f8d9a4646187ad0a2c1f09f7dd78eab991a3923d2374",
        "08357e15ac636328b30568dc3d49e47638fab9b414693488c0de75c718ff76c4",
        "824a92956c34718d50a604b384d9a4e9e98b04384a6ea2a4a6547c52615231d1",
        "b876a07ec0444489cc570ef7b0037714b785eb233541b0c44ecd5d354433210d",
        "4b08a215de7f7724e9f888b7eb0eeadc4eff0e4f526617e16252813ec474c20a",
    }
)
RULES_BY_VERSION: Final = {1: RULES_VERSION_1, 2: RULES_VERSION_2, 3: RULES_VERSION_3, 4: DEFAULT_RULES}
# Numbers that change after a decision, or come from files; `explaindecision` shows them as they were stored.
NOT_RECOUNTED: Final = ("guardrails", "hard_failure", "gate", "feed")
# What the evidence is counted from again.
ROWS: Final = "rows"
SEALED_SUMS: Final = "sealed sums"


@dataclass(frozen=True)
class DecisionReplay:
    """A stored verdict, and the verdict of today's code on the same evidence and rules."""

    same: bool  # whether both verdicts are the same, byte for byte
    code_changed: bool  # whether a module with decision rules has changed since the decision
    # Whether today's code decided, or that of a release whose rules are kept beside today's.
    code_known: bool
    # Whether the counted lists have changed since the decision, for example because a listener was deleted.
    data_changed: bool
    stored: bytes  # the stored verdict as JSON; `found` is the new one
    found: bytes
    # Fields of the evidence that the rows give otherwise now: name, stored value, counted value.
    recount: list[tuple[str, Any, Any]]
    rules_changed: list[str]  # thresholds that differ from those of the rules' version
    counted_from: str = ROWS  # ROWS, or SEALED_SUMS if the rows are too old to be kept
    seal_changed: bool = False  # whether the sealed sums are not those that were sealed
    # One sentence for each stored row that contradicts the decision.
    contradictions: tuple[str, ...] = ()

    @property
    def differences(self) -> list[str]:
        """One sentence for each thing that has changed since the decision."""
        found = [
            f"rows: {name} is {counted} by {self._source}, but {stored} in the evidence."
            for name, stored, counted in self.recount
        ]
        if self.data_changed:
            found.append("rows: the counted lists are not the same lists with the same scores.")
        if self.seal_changed:
            found.append("seal: the sealed sums do not have the digest that they were sealed with.")
        if self.rules_changed:
            found.append(f"rules: {', '.join(self.rules_changed)} differ from the rules of their version.")
        if not self.code_known:
            found.append("code: the code that decides is not the code that decided.")
        if not self.same:
            found.append("verdict: the evidence and the rules give another verdict.")
        return [*found, *self.contradictions]

    @property
    def _source(self) -> str:
        return "today's rows" if self.counted_from == ROWS else "the sealed sums"


def store_decision(
    experiment: Experiment,
    evidence: ExperimentEvidence,
    data_sha256: str,
    now: datetime,
    rules: DecisionRules = DEFAULT_RULES,
) -> tuple[Decision, ExperimentVerdict]:
    """Apply the rules to the evidence, and store the verdict with both.

    Args:
        data_sha256: `interleaving_scores.hash_scores` of the counted lists.
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


def mark_final(decision: Decision, promotion: Promotion | None = None, *, decided_by: str = "") -> None:
    """Record that the experiment ended with this decision.

    Args:
        decided_by: the user who decided; empty if the rules did.
    """
    decision.final, decision.promotion, decision.decided_by = True, promotion, decided_by
    decision.save(update_fields=["final", "promotion", "decided_by"])


def replay_decision(decision: Decision) -> DecisionReplay:
    """Count the rows again, apply the stored rules to the stored evidence, and compare both.

    If retention may have deleted rows, the sealed sums are compared instead.
    """
    rules, evidence = DecisionRules(**decision.rules), ExperimentEvidence.from_json(decision.evidence)
    stored = canonical_json(decision.verdict)
    found = canonical_json(verdict_as_json(apply_decision_rules(evidence, rules)))
    seal = ExperimentSeal.objects.filter(experiment=decision.experiment_id).first()
    recount, data_sha256 = _count_again(decision, evidence, seal)
    return DecisionReplay(
        same=stored == found,
        code_changed=decision.code != decision_code_digest(),
        code_known=decision.code in {decision_code_digest(), *CODE_OF_EARLIER_VERSIONS},
        data_changed=data_sha256 != decision.data_sha256,
        stored=stored,
        found=found,
        recount=recount,
        rules_changed=_changed_rules(decision.rules),
        counted_from=ROWS if seal is None else SEALED_SUMS,
        seal_changed=seal is not None and not seals.is_intact(seal),
        contradictions=tuple(_find_contradictions(decision)),
    )


def _find_contradictions(decision: Decision) -> Iterator[str]:
    """Yield a sentence for each column, experiment or promotion that contradicts the decision's verdict."""
    decided = decision.verdict.get("outcome")
    if decision.outcome != decided:
        yield f"outcome: the decision is listed as {decision.outcome}, but its verdict is {decided}."
    experiment = decision.experiment
    if experiment is None:
        return
    if decision.evidence["gate"] != experiment.gates.get("passed"):
        yield "gate: the evidence and the experiment disagree on whether the offline gates were passed."
    # A person may decide against the verdict of that moment. The reason's text proves nothing: anybody who
    # may edit it could write a name there.
    if decision.final and decision.decided_by:
        yield from _find_contradictions_of_person(decision, experiment)
    elif decision.final:
        yield from _find_contradictions_of_rules(decision, experiment)


def _find_contradictions_of_rules(decision: Decision, experiment: Experiment) -> Iterator[str]:
    promotion, decided = decision.promotion, decision.verdict.get("outcome")
    if experiment.reason != decision.verdict.get("reason"):
        yield "experiment: the reason for which it ended is not that of the verdict."
    if experiment.outcome != decided:
        yield f"experiment: it ended as {experiment.outcome}, but the verdict is {decided}."
    if decided == DecisionOutcome.PROMOTE and (
        promotion is None or promotion.promoted_id != experiment.challenger_id
    ):
        yield f"promotion: the verdict is to promote {experiment.challenger}, but no promotion says so."


def _find_contradictions_of_person(decision: Decision, experiment: Experiment) -> Iterator[str]:
    promotion, person = decision.promotion, decision.decided_by
    if experiment.outcome not in {Experiment.Outcome.PROMOTE, Experiment.Outcome.REJECT}:
        yield f"experiment: {person} decided it, but it ended as {experiment.outcome}."
    if experiment.outcome == Experiment.Outcome.PROMOTE and (
        promotion is None or (promotion.promoted_id, promotion.by) != (experiment.challenger_id, person)
    ):
        yield f"promotion: {person} promoted {experiment.challenger}, but no promotion says so."


def _count_again(
    decision: Decision, stored: ExperimentEvidence, seal: ExperimentSeal | None
) -> tuple[list[tuple[str, Any, Any]], str]:
    """Fields that differ when counted again from rows or sealed sums, and the hash of the counted lists."""
    if decision.experiment is None:
        return [], ""
    counted: DecisionCount | None
    if seal is None:
        counted = seals.count_decision(decision, decision.experiment)
    else:
        counted = seals.sealed_decision(seal, decision)
    if counted is None:
        return [], ""
    before, now = stored.as_json(), counted.evidence
    differing = [
        (name, before[name], now[name])
        for name in before
        if name not in NOT_RECOUNTED and not _is_same(before[name], now[name])
    ]
    return differing, counted.data_sha256


def _is_same(stored: Any, counted: Any) -> bool:
    # Sums of floats may differ in the last bit between machines.
    if isinstance(stored, float):
        return math.isclose(stored, counted, rel_tol=1e-9, abs_tol=1e-12)
    return bool(stored == counted)


def _changed_rules(stored: Mapping[str, Any]) -> list[str]:
    """Thresholds whose values differ from those of their version. Early decisions lack some."""
    known = RULES_BY_VERSION.get(stored.get("version", 1))
    if known is None:
        return ["version"]
    expected = asdict(known)
    return [name for name, value in stored.items() if value != expected.get(name)]


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
