"""A weekly refresh: the champion's groups, names and scales carried on, and what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine import artifact
from recommender.engine.algorithms.classic import Classic
from recommender.engine.clustering.warm_start import NEW
from recommender.engine.data import Carried, Catalogue
from recommender.engine.features import FeatureSpace, unpacked
from recommender.engine.mix.fit_components import ground_of
from recommender.engine.mix.model import Mix
from recommender.listener_profiles import columns_of
from recommender.models import Cluster, ModelVersion
from recommender.registry import registry
from recommender.training.clusters import Group
from recommender.training.dataset import TrainingData
from recommender.training.evaluation import Basis, Measured, Rival, open_model

# Of a group's songs; with two parts as large as that, it was split.
SPLIT_SHARE: Final = 0.3
# The artifact's array of groups as the songs' sound and company have them, before feedback was heard.
BY_SOUND: Final = "labels_by_sound"


@dataclass(frozen=True)
class Previous:
    """What the champion knew, as far as a refresh goes on from it.

    Attributes:
        labels: shape (n_songs,), its group of each song of today's catalogue; NEW for one it does not know.
        numbers: shape (n_clusters,), the groups' numbers by its labels.
        names: by number.
        space: its feature space; None where it was stored without one.
    """

    version: ModelVersion
    labels: NDArray[np.int32]
    numbers: NDArray[np.int32]
    names: dict[int, str]
    space: FeatureSpace | None


def previous_of(song_ids: NDArray[np.int64], method: str, storage: Path) -> Previous | None:
    """The champion, to be refreshed; None where there is none, of this method, whose files are whole.

    A champion that knows none of the songs can't be carried on either.
    """
    champion = registry.champion_row()
    if champion is None or champion.method != method:
        return None
    try:
        arrays, _ = artifact.read(storage / champion.label, champion.artifact_sha256)
    except artifact.ArtifactError:
        # Serving says so; training goes on from nothing.
        return None
    columns, known = columns_of(np.asarray(arrays["song_ids"]), song_ids)
    if not known.any():
        return None
    labels = np.full(len(song_ids), NEW, dtype=np.int32)
    # Without what feedback moved: that is found anew from the votes there are, each time.
    labels[known] = arrays.get(BY_SOUND, arrays["labels"])[columns[known]]
    names = dict(Cluster.objects.filter(version=champion).values_list("number", "name"))
    return Previous(champion, labels, np.asarray(arrays["cluster_ids"]), names, unpacked(arrays))


def basis_of(
    catalogue: Catalogue,
    method: str,
    storage: Path,
    previous: Previous | None,
    seed: int,
    *,
    chooses: bool = False,
) -> Basis:
    """What a training goes on from: `previous`, where it is a refresh; else nothing but who is champion."""
    champion = _rival_in(storage)
    if method != ModelVersion.Method.MIX:
        return Basis(champion=champion)
    if previous is None:
        return Basis(partial(ground_of, catalogue, seed=seed), champion=champion, chooses=chooses)
    return Basis(
        lay=partial(ground_of, catalogue, seed=seed, space=previous.space),
        carried=Carried(previous.labels, len(previous.numbers)),
        champion=champion,
        names={
            number: previous.names.get(number, f"Cluster {number}") for number in previous.numbers.tolist()
        },
    )


def family_of(
    previous: Previous | None,
    model: Mix | Classic,
    groups: Sequence[Group],
    data: TrainingData,
    *,
    is_refresh: bool,
) -> dict[str, Any]:
    """A version's parent and lineage, as its row keeps them; {} for the first of its kind."""
    if previous is None:
        return {}
    numbers = np.array([group.number for group in groups], dtype=np.int32)
    plays = np.bincount(data.plays.songs, weights=data.plays.count, minlength=data.catalogue.n_songs)
    lineage = lineage_of(previous, model.labels, numbers, plays.astype(np.float64))
    is_carried = is_refresh and isinstance(model, Mix)
    return {"lineage": lineage, "parent": previous.version if is_carried else None}


def clusters_told(
    groups: Sequence[Group],
    measured: Measured,
    previous: Previous | None,
    *,
    by_hand: int | None,
    full: bool,
) -> dict[str, Any]:
    """How many groups there are and which rule decided, as a version's configuration keeps it.

    Args:
        previous: the champion, where its groups were carried on.
    """
    if measured.choice is not None:
        return measured.choice.facts()
    if by_hand:
        rule = "Set by hand."
    elif previous is not None:
        rule = f"Carried on from {previous.version.label}."
    else:
        rule = "As many as the catalogue asks for."
        rule += " There is no week of new songs by which to choose." if full else ""
    return {"n_clusters": len(groups), "rule": rule}


def _rival_in(storage: Path) -> Rival | None:
    """The champion, to be compared with; None where there is none that can be read."""
    champion = registry.champion_row()
    if champion is None:
        return None
    try:
        model, song_ids = open_model(champion, storage)
    except (artifact.ArtifactError, KeyError, TypeError):
        # Damaged, or of a release that kept other arrays.
        return None
    return Rival(champion.label, model, song_ids, champion.cut_off.timestamp())


def lineage_of(
    previous: Previous, labels: NDArray[np.integer], numbers: NDArray[np.integer], plays: NDArray[np.floating]
) -> dict[str, Any]:
    """What became of the champion's groups; JSON can hold it.

    Args:
        labels: shape (n_songs,), today's group of each song.
        numbers: shape (n_clusters,), today's groups' numbers.
        plays: shape (n_songs,), how often each was played.
    """
    known = previous.labels != NEW
    before = previous.numbers[previous.labels[known]]
    after = np.asarray(numbers)[np.asarray(labels)[known]]
    moved = before != after
    played = plays[known]
    used = set(np.asarray(numbers)[np.unique(labels)].tolist())
    had = set(before.tolist())
    return {
        "from": previous.version.label,
        "kept": len(used & had),
        "born": sorted(used - had),
        "retired": sorted(had - used),
        "split": _split(before, after),
        "new_songs": int((~known).sum()),
        "churn_songs": round(float(moved.mean()), 5) if len(moved) else 0.0,
        "churn_plays": round(float(played[moved].sum() / played.sum()), 5) if played.sum() else 0.0,
    }


def _split(before: NDArray[np.integer], after: NDArray[np.integer]) -> list[dict[str, Any]]:
    """Groups of which two parts or more are in groups of their own by now."""
    found = []
    for number in np.unique(before).tolist():
        parts, sizes = np.unique(after[before == number], return_counts=True)
        large = parts[sizes >= SPLIT_SHARE * sizes.sum()]
        if len(large) > 1:
            found.append({"from": number, "into": large.tolist()})
    return found
