"""What lists are drawn from: each listener's best candidates, prepared by the batch or made for a request."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from django.db import DatabaseError
from django.db.models import Exists, OuterRef, Q, QuerySet

from ingestion.models import Listener, ListeningHistory
from recommender import listener_profiles
from recommender.engine.sampling import candidate_codec as packing
from recommender.models import CandidateList, Experiment, Feedback, ModelVersion, ServedList, sql
from recommender.registry import model_loader
from recommender.registry.model_loader import LoadedModel, ServingModel
from recommender.serving.candidates import generate_candidates

logger = logging.getLogger(__name__)

ACTIVE_WITHIN: Final = timedelta(days=90)
# Charts move; what a model says of a listener stands until the listener does something.
POPULARITY_MAX_AGE: Final = timedelta(days=1)
# A few hundred histories in memory at once, and one insert of some megabytes.
BATCH_SIZE: Final = 500
# A request may have read a shelf just before it was replaced, and stores its list a moment later.
PRUNE_GRACE: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class ServingCandidates:
    """A shelf's row and what is on it.

    Attributes:
        loaded: what serves it; held on to, so that a promotion between changes nothing about the list.
        stale: the listener or the model has moved on, and it could not be renewed.
    """

    row: CandidateList
    candidates: packing.CandidateArrays
    loaded: LoadedModel
    stale: bool = False


def load_fresh(
    listener_id: int, loaded: LoadedModel, storage: Path, now: datetime
) -> ServingCandidates | None:
    """The listener's newest shelf, or one made now where that is stale; None for an unknown listener."""
    if (found := load_if_fresh(listener_id, loaded, now)) is not None:
        return found
    if loaded.model is not None and not loaded.model.is_intact():
        loaded = model_loader.loader_for(storage).reload()
    known = listener_profiles.read_profiles([listener_id], now).get(listener_id)
    if known is None:
        return None
    made = _try_generate(known, loaded, now, live=True)
    if made is None and (older := _load_stale(listener_id, loaded)) is not None:
        return older
    made = made or _generate(known, LoadedModel(None, "The model breaks."), now, live=True)
    made.row.save()
    return made


def load_for_challenger(listener_id: int, model: ServingModel, now: datetime) -> ServingCandidates | None:
    """The listener's shelf by a model under test, or one made now; None where the model breaks on them."""
    loaded = LoadedModel(model, None)
    if (found := load_if_fresh(listener_id, loaded, now)) is not None:
        return found
    known = listener_profiles.read_profiles([listener_id], now).get(listener_id)
    made = _try_generate(known, loaded, now, live=True) if known is not None else None
    if made is not None:
        made.row.save()
    return made


def load_if_fresh(listener_id: int, loaded: LoadedModel, now: datetime) -> ServingCandidates | None:
    """The listener's newest shelf by what is loaded, if it knows all that they said and played."""
    row, knows_all = find_newest(listener_id, loaded.version_id) or (None, False)
    if row is None or not knows_all or not _is_current(row, loaded, now):
        return None
    content = _unpack_candidates(row)
    return ServingCandidates(row, content, loaded) if content is not None else None


def find_newest(listener_id: int, version_id: int | None) -> tuple[CandidateList, bool] | None:
    """The listener's newest shelf by a version, and whether it knows all that they said and played.

    One query; after a run two more, once. `version_id` None: by popularity.
    """
    return _check_unchanged(sql.newest_candidate_list(listener_id, version_id))


def _load_stale(listener_id: int, loaded: LoadedModel) -> ServingCandidates | None:
    """The listener's newest shelf, whoever made it and however old it is."""
    row, _ = _check_unchanged(sql.newest_candidate_list_of_any_version(listener_id)) or (None, False)
    content = _unpack_candidates(row)
    return (
        ServingCandidates(row, content, loaded, stale=True)
        if row is not None and content is not None
        else None
    )


def _check_unchanged(found: sql.Row | None) -> tuple[CandidateList, bool] | None:
    if found is None:
        return None
    *columns, knows_newest, is_of_this_run = found
    row = CandidateList.from_db(None, sql.CANDIDATE_LIST_COLUMNS, columns)
    return row, bool(knows_newest) and (bool(is_of_this_run) or row.pk in _unchanged_since_run([row]))


def _unchanged_since_run(rows: Sequence[CandidateList]) -> set[int]:
    """Which of these shelves know all sessions there are after a run; until the next they are believed."""
    run_id = listener_profiles.newest_finished_run()
    marks = listener_profiles.read_history_fingerprints([row.listener_id for row in rows])
    same = {row.pk for row in rows if row.history == marks[row.listener_id]}
    CandidateList.objects.filter(pk__in=same).update(run_id=run_id)
    return same


def listeners_due(loaded: LoadedModel, now: datetime) -> list[int]:
    """Ids, ascending, of the active listeners who have no shelf, or a stale one."""
    of_same = CandidateList.objects.filter(listener_id=OuterRef("listener_id"), version_id=loaded.version_id)
    sessions = ListeningHistory.objects.filter(user_id=OuterRef("listener_id"), unavailable_at=None)
    said = Feedback.objects.filter(listener_id=OuterRef("listener_id"), pk__gt=OuterRef("feedback_id"))
    fresh = CandidateList.objects.filter(
        ~Exists(of_same.filter(pk__gt=OuterRef("pk"))),
        ~Exists(sessions.filter(created_at__gt=OuterRef("history_at"))),
        Q(history_at__isnull=False) | ~Exists(sessions),
        ~Exists(said),
        version_id=loaded.version_id,
    )
    if loaded.version_id is None:
        fresh = fresh.filter(made_at__gte=now - POPULARITY_MAX_AGE)
    run_id = listener_profiles.newest_finished_run()
    known = set(fresh.filter(run_id=run_id).values_list("listener_id", flat=True))
    rows = list(fresh.exclude(run_id=run_id).only("id", "listener_id", "history"))
    for start in range(0, len(rows), BATCH_SIZE):
        batch = rows[start : start + BATCH_SIZE]
        unchanged = _unchanged_since_run(batch)
        known |= {row.listener_id for row in batch if row.pk in unchanged}
    return [pk for pk in active_listeners(now).values_list("pk", flat=True) if pk not in known]


def prepare_lists(
    listener_ids: Sequence[int],
    loaded: LoadedModel,
    now: datetime,
    on_progress: Callable[[int], object] = lambda done: None,
) -> int:
    """Make a new shelf for each listener, then clear away those that it replaces; how many were made.

    Args:
        on_progress: called with how many more listeners are done.
    """
    made = 0
    for start in range(0, len(listener_ids), BATCH_SIZE):
        batch = listener_ids[start : start + BATCH_SIZE]
        known = listener_profiles.read_profiles(batch, now)
        tried = [_try_generate(one, loaded, now, live=False) for one in known.values()]
        rows = [stocked.row for stocked in tried if stocked is not None]
        CandidateList.objects.bulk_create(rows)
        prune(batch, now)
        made += len(rows)
        on_progress(len(batch))
    return made


def prune(listener_ids: Iterable[int], now: datetime) -> int:
    """Delete shelves that a newer one has long replaced and no served list refers to; how many."""
    newer = CandidateList.objects.filter(
        listener_id=OuterRef("listener_id"), pk__gt=OuterRef("pk"), made_at__lt=now - PRUNE_GRACE
    )
    of_same = newer.filter(version_id=OuterRef("version_id"))
    served = ServedList.objects.filter(
        Q(candidate_list_id=OuterRef("pk")) | Q(challenger_candidate_list_id=OuterRef("pk"))
    )
    # By versions that serve no more, and by popularity: gone with any newer shelf.
    tested = Experiment.objects.filter(status=Experiment.Status.RUNNING, challenger=OuterRef("version_id"))
    serves = Q(version__role=ModelVersion.Role.CHAMPION) | Exists(tested)
    is_replaced = Exists(of_same) | (Exists(newer) & ~serves)
    replaced = CandidateList.objects.filter(is_replaced, ~Exists(served), listener_id__in=listener_ids)
    return replaced.defer("candidates").delete()[0]


def active_listeners(now: datetime) -> QuerySet[Listener]:
    """The listeners who listened or said something in the last ninety days, by id."""
    since = now - ACTIVE_WITHIN
    listened = ListeningHistory.objects.filter(
        user_id=OuterRef("pk"), created_at__gte=since, unavailable_at=None
    )
    said = Feedback.objects.filter(listener_id=OuterRef("pk"), at__gte=since)
    return Listener.objects.filter(Exists(listened) | Exists(said), unavailable_at=None).order_by("pk")


def _try_generate(
    known: listener_profiles.ListenerProfile, loaded: LoadedModel, now: datetime, *, live: bool
) -> ServingCandidates | None:
    """A shelf not yet stored; None where the model breaks on this listener."""
    try:
        return _generate(known, loaded, now, live=live)
    except DatabaseError:
        raise
    except Exception:
        # Whatever it is, a listener is better served from an older shelf than with an error page.
        logger.exception("scoring_broke listener=%s version=%s", known.listener_id, loaded.version_id)
        return None


def _generate(
    known: listener_profiles.ListenerProfile, loaded: LoadedModel, now: datetime, *, live: bool
) -> ServingCandidates:
    content = generate_candidates(known, loaded.model, now)
    row = CandidateList(
        listener_id=known.listener_id,
        version_id=loaded.version_id,
        made_at=now,
        live=live,
        history_at=known.history_at,
        history=known.history_fingerprint,
        run_id=known.run_id,
        feedback_id=known.feedback_id,
        candidates=packing.encode_candidates(content),
    )
    return ServingCandidates(row, content, loaded)


def _unpack_candidates(row: CandidateList | None) -> packing.CandidateArrays | None:
    """What is on it; None where there is no shelf, or its bytes are damaged."""
    if row is None:
        return None
    try:
        return packing.decode_candidates(bytes(row.candidates))
    except packing.CandidateListDamaged:
        logger.exception("shelf_damaged shelf=%s", row.pk)
        return None


def _is_current(row: CandidateList, loaded: LoadedModel, now: datetime) -> bool:
    """Whether it was made by what serves now; what is popular, lately."""
    if row.version_id != loaded.version_id:
        return False
    return row.version_id is not None or now - row.made_at <= POPULARITY_MAX_AGE
