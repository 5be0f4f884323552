"""Compares how cohesive two versions' clusters are."""

from collections.abc import Mapping
from typing import Final

from django.utils.translation import gettext_noop as _n

from recommender.models import ModelVersion

COHESION_NAMES: Final = {"r2": _n("explained variance"), "silhouette_macro": _n("silhouette")}
# Below this share of the champion's cohesion, clusters have lost their meaning: 2 clusters of 800 songs once
# replaced 40.
FAR_BELOW: Final = 0.5


def compare_cohesion(version: ModelVersion, other: ModelVersion) -> dict[str, tuple[float, float]]:
    """Both versions' values by measure; {} if the method differs, since it decides the feature space."""
    if version.method != other.method:
        return {}
    return {
        name: (own, theirs)
        for name in COHESION_NAMES
        if (own := version.cohesion.get(name)) is not None
        and (theirs := other.cohesion.get(name)) is not None
    }


def far_less_cohesive(pairs: Mapping[str, tuple[float, float]]) -> bool:
    return any(other > 0 and own < FAR_BELOW * other for own, other in pairs.values())
