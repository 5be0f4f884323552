"""A feature space as arrays that an artifact can hold beside the model, and that only trainings read."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.features import FeatureSpace

PREFIX: Final = "space_"
NUMBERS: Final = ("idf", "centres", "scales", "axes")


def packed(space: FeatureSpace) -> dict[str, NDArray[Any]]:
    """Every array by its name in the artifact; words as UTF-8 and where each ends: strings are objects."""
    found = {f"{PREFIX}{name}": getattr(space, name) for name in NUMBERS}
    for name in ("tokens", "names"):
        words = [word.encode("utf-8", "surrogatepass") for word in getattr(space, name)]
        found[f"{PREFIX}{name}"] = np.frombuffer(b"".join(words), dtype=np.uint8)
        found[f"{PREFIX}{name}_ends"] = np.cumsum([len(word) for word in words], dtype=np.int64)
    found[f"{PREFIX}length"] = np.array([space.length], dtype=np.float64)
    return found


def unpacked(arrays: Mapping[str, NDArray[Any]]) -> FeatureSpace | None:
    """The space that `packed` took apart; None where the arrays hold none."""
    if f"{PREFIX}length" not in arrays:
        return None
    numbers = {name: np.asarray(arrays[f"{PREFIX}{name}"]) for name in NUMBERS}
    return FeatureSpace(
        tokens=_words(arrays, "tokens"), names=_words(arrays, "names"),
        length=float(arrays[f"{PREFIX}length"][0]), **numbers,
    )  # fmt: skip


def _words(arrays: Mapping[str, NDArray[Any]], name: str) -> list[str]:
    whole = np.asarray(arrays[f"{PREFIX}{name}"]).tobytes()
    ends = np.asarray(arrays[f"{PREFIX}{name}_ends"]).tolist()
    return [
        whole[start:end].decode("utf-8", "surrogatepass")
        for start, end in zip([0, *ends], ends, strict=False)
    ]
