"""Starts the Spark engine with the settings filled in.

The engine is imported on demand, because it needs packages that are optional.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Final

from django.conf import settings
from django.utils import timezone

from recommender.engine.algorithms.engines import Engine, EngineUnavailable
from recommender.models import CandidateList
from recommender.registry.model_loader import LoadedModel
from recommender.serving.candidates import candidate_cache
from recommender.spark import candidate_kernel
from recommender.spark.django_kernel import DjangoKernel

SPARK_ENGINE: Final = "recommender.spark.engine"


def open_spark(master: str | None) -> AbstractContextManager[Engine]:
    """Start Spark on a master, by default `SPARK_MASTER`; raises `EngineUnavailable`."""
    try:
        module = import_module(SPARK_ENGINE)
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            f"The engine spark needs the package {error.name}. Install it: pip install '.[spark]', or "
            "choose the engine local."
        ) from error
    engine: AbstractContextManager[Engine] = module.open_spark_engine(
        master or settings.SPARK_MASTER, settings.EXPORT_DIR
    )
    return engine


def prepare_lists_on_spark(
    master: str | None,
    listener_ids: Sequence[int],
    loaded: LoadedModel,
    on_progress: Callable[[int], object],
    *,
    renews_fresh: bool = False,
) -> int:
    """Generate candidate lists on Spark's workers, and store them; return how many.

    Listeners whom another process prepares are left out, and so are fresh lists unless `renews_fresh`.

    Raises:
        EngineUnavailable: Spark can't start.
    """
    now = timezone.now()
    kernel = DjangoKernel(candidate_kernel.__name__, "generate_lists", (loaded.version_id, now))
    # Spark starts first, so that no lease is held meanwhile.
    with open_spark(master) as engine:

        def generate(listeners: Sequence[int]) -> Iterator[tuple[Sequence[int], list[CandidateList]]]:
            for ids, rows in engine.map_rows(kernel, listeners, candidate_cache.BATCH_SIZE):
                yield ids, [candidate_kernel.decode_row(row) for row in rows]

        return candidate_cache.prepare_on_cluster(
            generate, listener_ids, loaded, now, on_progress, renews_fresh=renews_fresh
        )
