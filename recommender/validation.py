"""What a version must pass before any listener sees it, each gate with its numbers and a sentence."""

import time
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from recommender import listener_profiles
from recommender.engine.artifact import ArtifactError
from recommender.engine.evaluation.metrics import ENOUGH
from recommender.engine.evaluation.off_policy import estimate
from recommender.engine.sampling.sampler import FLOOR, Offers, temperature_of
from recommender.models import ModelVersion, ServedList
from recommender.registry import model_loader
from recommender.registry.model_loader import Model
from recommender.registry.registry import Verify
from recommender.serving import candidate_cache
from recommender.serving.candidates import stock
from recommender.serving.list_sampler import Drawing, Page, Terms

TRIED_ON: Final = 50  # listeners
LIST: Final = 20
USUAL: Final = 0.3  # discovery
SLOW: Final = 300.0  # milliseconds
MOST_LISTS: Final = 600  # of which the off-policy estimate is made: each costs a scoring
SEED: Final = 7
Arm = ServedList.Arm


@dataclass(frozen=True)
class Gate:
    """Attributes: passed: None where it has no opinion, for want of something to go by."""

    name: str
    passed: bool | None
    sentence: str
    numbers: dict[str, Any] = field(default_factory=dict)


def pass_through(version: ModelVersion, storage: Path, now: datetime, verify: Verify) -> dict[str, Any]:
    """Every gate, in order; JSON can hold it. `passed` is False where one of them is against it.

    A version whose files are damaged is tried no further.
    """
    found = [_artifact(version, verify)]
    if found[0].passed:
        model = model_loader.open_version(version, storage)
        found += [_smoke(model, now), _offline(version), _paired(version), _off_policy(model, now)]
    opinions = [gate.passed for gate in found if gate.passed is not None]
    return {"passed": all(opinions), "gates": [asdict(gate) for gate in found]}


def reasons(gates: dict[str, Any]) -> str:
    """Why a version did not pass, in sentences."""
    return " ".join(gate["sentence"] for gate in gates["gates"] if gate["passed"] is False)


def _artifact(version: ModelVersion, verify: Verify) -> Gate:
    try:
        verify(version)
    except ArtifactError as error:
        return Gate("artifact", False, f"Its files are not as they were written: {error}")
    return Gate("artifact", True, "Every file is as it was written.")


def _smoke(model: Model, now: datetime) -> Gate:
    """Draw a list for 50 listeners, as a request would."""
    listeners = list(candidate_cache.active(now).values_list("pk", flat=True)[:TRIED_ON])
    wanted = min(LIST, int(np.count_nonzero(model.learnt.available)))
    took, short = [], 0
    for known in listener_profiles.read(listeners, now).values():
        begun = time.perf_counter()
        try:
            content = stock(known, model, now)
            terms = Terms(f"smoke:{known.listener_id}", USUAL, temperature_of(USUAL), 2)
            picks = Drawing(content, terms).page(Page(LIST))
        except Exception as error:  # whatever it is, listeners must not meet it
            return Gate("smoke", False, f"It breaks on a listener: {type(error).__name__}: {error}")
        took.append(1_000 * (time.perf_counter() - begun))
        short += len(picks) < min(wanted, len(content.songs))
    if not took:
        return Gate("smoke", None, "Nobody has listened of late: there is nobody to try it on.")
    p95 = float(np.quantile(took, 0.95))
    passed = not short and p95 <= SLOW
    said = f"{len(took)} listeners got a list each, 95 % of them within {p95:.1f} ms"
    said += f"; {short} lists were too short." if short else "."
    return Gate("smoke", passed, said, {"listeners": len(took), "short": short, "p95_ms": round(p95, 2)})


def _offline(version: ModelVersion) -> Gate:
    """Not surely worse than popularity and chance on the week that it had not seen."""
    own = version.metrics.get(version.method, {})
    if own.get("ndcg") is None:
        return Gate("baselines", None, "Nobody played a new song in the latest week: it can't be measured.")
    floors = {
        name: version.metrics[name]["ndcg"]
        for name in ("popularity", "random")
        if version.metrics.get(name, {}).get("ndcg") is not None
    }
    best = max(floors.values(), default=0.0)
    said = f"NDCG@20 {own['ndcg']:.4f} on the latest week, {best:.4f} by popularity or chance"
    pair = version.metrics.get("against_floor") or {}
    numbers = {"ndcg": own["ndcg"], "listeners": own["listeners"], **floors, **pair}
    if own["listeners"] < ENOUGH:
        return Gate("baselines", None, f"{said}. {_too_few(own['listeners'])}", numbers)
    if not pair:
        return Gate("baselines", own["ndcg"] >= best, f"{said}.", numbers)
    # What was learnt before the world moved may be no better than chance in the week in which it did.
    said += f" ({pair['low']:+.4f} to {pair['high']:+.4f} against {pair['floor']})."
    return Gate("baselines", pair["high"] >= 0, said, numbers)


def _paired(version: ModelVersion) -> Gate:
    """Against the champion on the same week, listener by listener."""
    pair = version.metrics.get("against_champion")
    if not pair:
        return Gate(
            "champion", None, "The champion has seen the latest week, or there is none: no fair match."
        )
    said = (
        f"NDCG@20 {pair['difference']:+.4f} against {pair['champion']} on the same week "
        f"({pair['low']:+.4f} to {pair['high']:+.4f}, {pair['listeners']} listeners)."
    )
    if pair["listeners"] < ENOUGH:
        return Gate("champion", None, f"{said} {_too_few(pair['listeners'])}", pair)
    return Gate("champion", pair["high"] >= 0, said, pair)


def _too_few(listeners: int) -> str:
    return f"{listeners} listeners are too few to say so: chance alone does as much."


def _off_policy(model: Model, now: datetime) -> Gate:
    """What the champion's first places say of this model: it may refuse gross harm, and nothing else."""
    rows = _logged(model, now)
    if not rows:
        return Gate("logs", None, "No list was served since its data end: the logs say nothing.")
    rewards, old, new, listeners = (np.array(column) for column in zip(*rows, strict=True))
    found = estimate(rewards, old, new, listeners, seed=SEED)
    numbers = {name: round(value, 5) for name, value in asdict(found).items()}
    said = (
        f"First places by logs: {found.new:.3f} against {found.old:.3f} ({found.low:+.3f} to "
        f"{found.high:+.3f}), support {found.support:.2f}, effective {found.effective:.0%} "
        f"of {len(rows)} lists"
    )
    if not found.has_opinion:
        return Gate("logs", None, f"{said}: too little to say anything.", numbers)
    return Gate("logs", not found.is_gross_harm, f"{said}.", numbers)


def _logged(model: Model, now: datetime) -> list[tuple[float, float, float, int]]:
    """Of lists after the version's data: was the first song engaged, both probabilities, whose list.

    Lists before it the version has learnt from. So the gate speaks where a version is tested some days after
    it was made, and seldom of one that was made this morning.
    """
    lists = ServedList.objects.filter(
        arm__in=(Arm.CHAMPION, Arm.INTERLEAVED), generated_at__gt=model.version.cut_off,
        generated_at__lte=now, discovery__gt=0, engagement__isnull=False,
    )  # fmt: skip
    rows = []
    for served in lists.select_related("engagement").order_by("-generated_at")[:MOST_LISTS]:
        known = listener_profiles.read([served.listener_id], served.generated_at, until=served.generated_at)
        if served.items and served.listener_id in known:
            chance = _chance(model, known[served.listener_id], served)
            rows.append((_reward(served), _drawn(served.items[0]), chance, served.listener_id))
    return rows


def _drawn(item: dict[str, Any]) -> float:
    """How probably the list's first song came there: a fair coin says which of two models draws it."""
    if "p_champion" in item:
        return float((item["p_champion"] + item["p_challenger"]) / 2)
    return float(item["propensity"])


def _reward(served: ServedList) -> float:
    """Whether the first song was listened to or liked."""
    first = served.items[0]["song"]
    played = served.attributed.filter(song=first).exists()
    liked = served.feedback.filter(song=first, kind__in=("like", "listen")).exists()
    refused = served.feedback.filter(song=first, kind__in=("skip", "dislike")).exists()
    return float((played or liked) and not refused)


def _chance(model: Model, known: listener_profiles.Known, served: ServedList) -> float:
    """The probability with which this model would have put the list's first song there."""
    terms = Terms(served.seed, served.discovery, served.temperature, served.artist_cap)
    pool = Drawing(stock(known, model, served.generated_at), terms).pool(Page.from_json(served.pages[0]))
    places = np.flatnonzero(pool.songs == served.items[0]["song"])
    if not len(places):
        return 0.0
    offers = Offers(pool, served.temperature, served.artist_cap, ())
    return offers.propensity(int(places[0]), FLOOR)
