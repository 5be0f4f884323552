"""Checks that a version must pass offline before listeners get its recommendations."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from recommender import listener_profiles
from recommender.engine.artifact import ArtifactError, ArtifactUnavailable
from recommender.engine.evaluation.metrics import FEWEST_LISTENERS
from recommender.engine.evaluation.off_policy import estimate_off_policy
from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.engine.sampling.sampler import PROPENSITY_FLOOR, ListOffers, discovery_to_temperature
from recommender.feedback.engagement import ATTRIBUTION_WINDOW, engagement_by_list
from recommender.listener_profiles import ListenerProfile
from recommender.models import ModelVersion, ServedList
from recommender.registry import model_loader, registry
from recommender.registry.cohesion import COHESION_NAMES, compare_cohesion, far_less_cohesive
from recommender.registry.model_loader import ServingModel
from recommender.registry.registry import Verify
from recommender.serving.candidates import candidate_cache
from recommender.serving.candidates.candidates import (
    generate_block,
    generate_candidates,
    split_into_blocks,
)
from recommender.serving.list_limits import ARTIST_CAP, DISCOVERY, LIST_LENGTH
from recommender.serving.list_sampler import DrawOptions, ListPage, ListSampler
from recommender.serving.served_lists import stored_draw_options

SMOKE_TEST_LISTENERS: Final = 200  # a break for one listener in ten is then found before any list
SMOKE_TEST_NEWCOMERS: Final = 20  # beside them: listeners without sessions are not active
SLOWEST_SHARE: Final = 0.05  # of the listeners, whose lists may take longer
# One list at a time takes three times the CPU of lists in blocks, so only these are made like a request's.
TIMED_LONG: Final = 20  # listeners with the longest histories: the slowest share of all, and nine more
TIMED_SHORT: Final = 5  # ... and with the shortest ones, often none
MAX_P95_MILLISECONDS: Final = 300.0  # of CPU time
MIN_REFRESH_SUPPORT: Final = 0.3
# Used for the off-policy estimate; each list must be scored again, for 10 to 25 ms of CPU.
MAX_LOGGED_LISTS: Final = 200
BOOTSTRAP_SEED: Final = 7
Arm = ServedList.Arm


@dataclass(frozen=True)
class GateResult:
    name: str
    passed: bool | None  # None if there is too little data for the gate
    sentence: str
    numbers: dict[str, Any] = field(default_factory=dict)


def run_gates(version: ModelVersion, storage: Path, now: datetime, verify: Verify) -> dict[str, Any]:
    """Run the offline gates; returns results as JSON types. `passed` is False if any gate failed.

    If the version's files are damaged, the other gates are not run.
    """
    found = [_artifact_gate(version, verify)]
    if found[0].passed:
        model = model_loader.open_serving_model(version, storage)
        found += [
            _smoke_gate(model, now),
            _baseline_gate(version),
            _champion_gate(version),
            _cohesion_gate(version),
            _off_policy_gate(model, now),
        ]
    opinions = [gate.passed for gate in found if gate.passed is not None]
    return {"passed": all(opinions), "gates": [asdict(gate) for gate in found]}


def failure_reasons(gates: dict[str, Any]) -> str:
    return " ".join(gate["sentence"] for gate in gates["gates"] if gate["passed"] is False)


def _artifact_gate(version: ModelVersion, verify: Verify) -> GateResult:
    try:
        verify(version)
    except ArtifactUnavailable as error:
        return GateResult("artifact", False, f"Its files can't be read now: {error}")
    except ArtifactError as error:
        return GateResult("artifact", False, f"Its files have changed since the training: {error}")
    return GateResult("artifact", True, "All files are unchanged since the training.")


def _smoke_gate(model: ServingModel, now: datetime) -> GateResult:
    active = candidate_cache.active_listeners(now).values_list("pk", flat=True)[:SMOKE_TEST_LISTENERS]
    listeners = sorted({*active, *candidate_cache.newest_listeners(SMOKE_TEST_NEWCOMERS)}) if active else []
    profiles = list(listener_profiles.read_profiles(listeners, now).values())
    timed, others = _choose_timed(profiles)
    wanted = min(LIST_LENGTH, int(np.count_nonzero(model.scorer.available)))
    took, short = [], 0
    # The others first: the first lists compute what the model keeps for all later ones.
    blocks = [*split_into_blocks(others), *([one] for one in timed)]
    for block in blocks:
        # CPU time: on a busy machine any model would be slow by the clock.
        begun = time.thread_time()
        try:
            found = generate_block(block, model, now)
            drawn = [_draw_smoke_list(*pair) for pair in zip(block, found, strict=True)]
        except Exception as error:  # any error: listeners must not get this model
            return GateResult("smoke", False, f"It fails for a listener: {type(error).__name__}: {error}")
        took.append(1_000 * (time.thread_time() - begun))
        short += sum(n < min(wanted, len(content.songs)) for n, content in zip(drawn, found, strict=True))
    took = took[len(took) - len(timed) :]
    if not took:
        return GateResult("smoke", None, "No listener was active lately, so the version could not be tried.")
    # As if all had been timed: the slowest lists are among those of the longest histories.
    slower = math.ceil(SLOWEST_SHARE * len(profiles))
    p95 = sorted(took, reverse=True)[slower - 1]
    passed = not short and p95 <= MAX_P95_MILLISECONDS
    said = f"{len(profiles)} listeners got a list each, 95 % of them within {p95:.1f} ms of CPU"
    said += f"; {short} lists were too short." if short else "."
    return GateResult(
        "smoke", passed, said, {"listeners": len(profiles), "short": short, "p95_ms": round(p95, 2)}
    )


def _choose_timed(profiles: list[ListenerProfile]) -> tuple[list[ListenerProfile], list[ListenerProfile]]:
    """The listeners whose lists are timed, as a request would make them, and the others.

    Lists of the longest histories take longest. Without plays the work is another.
    """
    by_length = sorted(profiles, key=lambda one: (len(one.songs), one.listener_id))
    n_others = max(0, len(profiles) - TIMED_LONG - TIMED_SHORT)
    others = by_length[TIMED_SHORT : TIMED_SHORT + n_others]
    return by_length[:TIMED_SHORT] + by_length[TIMED_SHORT + n_others :], others


def _draw_smoke_list(profile: ListenerProfile, content: CandidateArrays) -> int:
    """Draw a list; returns its length."""
    temperature = discovery_to_temperature(DISCOVERY)
    terms = DrawOptions(f"smoke:{profile.listener_id}", DISCOVERY, temperature, ARTIST_CAP)
    return len(ListSampler(content, terms).draw_page(ListPage(LIST_LENGTH)))


def _baseline_gate(version: ModelVersion) -> GateResult:
    own = version.metrics.get(version.method, {})
    if own.get("ndcg") is None:
        return GateResult(
            "baselines", None, "Not measured: no listener played a new song in the latest week."
        )
    floors = {
        name: version.metrics[name]["ndcg"]
        for name in ("popularity", "random")
        if version.metrics.get(name, {}).get("ndcg") is not None
    }
    best = max(floors.values(), default=0.0)
    said = f"NDCG@20 {own['ndcg']:.4f} on the latest week, {best:.4f} by popularity or chance"
    pair = version.metrics.get("against_floor") or {}
    numbers = {"ndcg": own["ndcg"], "listeners": own["listeners"], **floors, **pair}
    if own["listeners"] < FEWEST_LISTENERS:
        return GateResult("baselines", None, f"{said}. {_too_few_listeners(own['listeners'])}", numbers)
    if not pair:
        return GateResult("baselines", own["ndcg"] >= best, f"{said}.", numbers)
    # After a sudden change in listening, even a good model may be no better than chance in that week. So the
    # version passes unless the whole interval is below 0.
    said += f" ({pair['low']:+.4f} to {pair['high']:+.4f} against {pair['floor']})."
    pairs = version.metrics.get("against_baselines") or {}
    beaten = [name for name, one in pairs.items() if one["high"] < 0]
    if pairs:
        said += f" Paired by listener: {describe_pairs(pairs)}."
    return GateResult("baselines", pair["high"] >= 0 and not beaten, said, numbers | pairs)


def describe_pairs(pairs: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(
        f"{one['difference']:+.4f} against {name} ({one['low']:+.4f} to {one['high']:+.4f})"
        for name, one in pairs.items()
    )


def _champion_gate(version: ModelVersion) -> GateResult:
    pair = version.metrics.get("against_champion")
    if not pair:
        return GateResult(
            "champion", None, "Not compared: there is no champion, or it was trained on the latest week."
        )
    said = (
        f"NDCG@20 {pair['difference']:+.4f} against {pair['champion']} on the same week "
        f"({pair['low']:+.4f} to {pair['high']:+.4f}, {pair['listeners']} listeners)."
    )
    if pair["listeners"] < FEWEST_LISTENERS:
        return GateResult("champion", None, f"{said} {_too_few_listeners(pair['listeners'])}", pair)
    return GateResult("champion", pair["high"] >= 0, said, pair)


def _cohesion_gate(version: ModelVersion) -> GateResult:
    """The gate that refuses clusters less than half as cohesive as the champion's."""
    champion = registry.current_champion()
    pairs = compare_cohesion(version, champion) if champion and champion != version else {}
    if not pairs:
        return GateResult("cohesion", None, "There is no champion with the same method to compare with.")
    numbers = {name: {"own": own, "champion": other} for name, (own, other) in pairs.items()}
    said = ", ".join(
        f"{COHESION_NAMES[name]} {own:.3f} against {other:.3f}" for name, (own, other) in pairs.items()
    )
    return GateResult(
        "cohesion", not far_less_cohesive(pairs), f"Clusters of {version} and of {champion}: {said}.", numbers
    )


def _too_few_listeners(listeners: int) -> str:
    return f"{listeners} listeners are too few to decide: chance alone makes such differences."


def _off_policy_gate(model: ServingModel, now: datetime) -> GateResult:
    """Advice estimated from the songs that the champion ranked first; it refuses nothing."""
    # It had no opinion on 15 of 15 real candidates: they are tested the minute they are trained, when no list
    # was served after their data, and songs that only the candidate would show have no support in the logs.
    rows = _read_logged_rewards(model, now)
    if not rows:
        return GateResult(
            "logs", None, "Not estimated: no list was served since the end of its training data."
        )
    rewards, old, new, listeners = (np.array(column) for column in zip(*rows, strict=True))
    found = estimate_off_policy(rewards, old, new, listeners, seed=BOOTSTRAP_SEED)
    numbers = {name: round(value, 5) for name, value in asdict(found).items()}
    said = (
        f"Estimated reward of the first songs: {found.new:.3f} against {found.old:.3f} ({found.low:+.3f} to "
        f"{found.high:+.3f}), support {found.support:.2f}, effective sample {found.effective:.0%} "
        f"of {len(rows)} lists"
    )
    if not found.is_reliable:
        said += "; too few to say anything"
    elif found.is_gross_harm:
        said += "; by them it is clearly worse"
    if found.support < MIN_REFRESH_SUPPORT and model.version.parent_id is not None:
        said += (
            f"; a refresh with less than {MIN_REFRESH_SUPPORT:.0%} support is unusual: look at its lists "
            "before it is tested"
        )
    return GateResult("logs", None, f"Advice: {said}.", numbers)


def _read_logged_rewards(model: ServingModel, now: datetime) -> list[tuple[float, float, float, int]]:
    # Only lists after the version's training data count, which are few if it was trained today.
    lists = ServedList.objects.filter(
        arm__in=(Arm.CHAMPION, Arm.INTERLEAVED), generated_at__gt=model.version.cut_off,
        generated_at__lte=now, discovery__gt=0, engagement__isnull=False,
    )  # fmt: skip
    logged = list(lists.order_by("-generated_at")[:MAX_LOGGED_LISTS])
    engagement = engagement_by_list(logged, ATTRIBUTION_WINDOW) if logged else {}
    rows = []
    for served in logged:
        known = listener_profiles.read_profiles(
            [served.listener_id], served.generated_at, until=served.generated_at
        )
        if served.items and served.listener_id in known:
            chance = _candidate_propensity(model, known[served.listener_id], served)
            engaged = engagement[served.pk].engaged(ATTRIBUTION_WINDOW)
            reward = float(served.items[0]["song"] in engaged)
            rows.append((reward, _logged_propensity(served.items[0]), chance, served.listener_id))
    return rows


def _logged_propensity(item: dict[str, Any]) -> float:
    if "p_champion" in item:
        return float((item["p_champion"] + item["p_challenger"]) / 2)
    return float(item["propensity"])


def _candidate_propensity(
    model: ServingModel, profile: listener_profiles.ListenerProfile, served: ServedList
) -> float:
    # Both models know what the listener had been shown when the list was served.
    candidates = generate_candidates(profile, model, served.generated_at)
    pool = ListSampler(candidates, stored_draw_options(served)).build_pool(
        ListPage.from_json(served.pages[0])
    )
    places = np.flatnonzero(pool.songs == served.items[0]["song"])
    if not len(places):
        return 0.0
    offers = ListOffers(pool, served.temperature, served.artist_cap, ())
    return offers.propensity(int(places[0]), PROPENSITY_FLOOR)
