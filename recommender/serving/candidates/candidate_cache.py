"""Cache of each listener's candidate lists, prepared in batches and renewed on request."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from django.db import DatabaseError, IntegrityError
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from ingestion.api.query_params import is_possible_id
from ingestion.jobs.database_patience import is_unwritable
from ingestion.jobs.leases import take_leases
from ingestion.models import Listener, ListeningHistory, ResourceReport
from recommender import listener_profiles
from recommender.engine.algorithms.engines import LocalEngine
from recommender.engine.sampling import candidate_codec
from recommender.listener_profiles import ListenerProfile
from recommender.models import CandidateList, Experiment, Feedback, ModelVersion, ServedList, sql
from recommender.registry import model_loader
from recommender.registry.model_loader import LoadedModel, ServingModel
from recommender.serving.candidates.candidates import generate_block, split_into_blocks
from recommender.serving.list_limits import RequestRenewal

logger = logging.getLogger(__name__)

ACTIVE_WITHIN: Final = timedelta(days=90)
# Popularity changes daily; a model's scores for a listener change only with the listener's events.
POPULARITY_MAX_AGE: Final = timedelta(days=1)
# Limits memory to a few hundred histories, and an insert to some megabytes.
BATCH_SIZE: Final = 500
# Due listeners are prepared in so many parts: each one is a task for any worker and has a lease of its own.
# Three thousand listeners of 200 000, half a minute.
PARTS: Final = 64
# Longer than one batch takes; renewed after each.
LEASE_DURATION: Final = timedelta(minutes=5)
# A cluster gives the first lists after Spark's workers have loaded the model and computed a few batches each.
CLUSTER_LEASE_DURATION: Final = timedelta(minutes=30)
# A worker renews a list within seconds. If feedback is older, no worker does: a request generates the list.
RENEWED_WITHIN: Final = timedelta(minutes=1)
# A request may have read a candidate list just before it was replaced, and store its served list later.
PRUNE_GRACE: Final = timedelta(minutes=10)
# Fingerprint and run of a candidate list that serves one request.
ONE_REQUEST: Final = "one request"
ONE_REQUEST_RUN: Final = -1
# From listeners to batches of them with their new lists, which are not stored.
GenerateBatches = Callable[[Sequence[int]], Iterable[tuple[Sequence[int], list[CandidateList]]]]


@dataclass(frozen=True)
class ServingCandidates:
    row: CandidateList  # the stored candidate list; its columns may be deferred
    candidates: candidate_codec.CandidateArrays
    loaded: LoadedModel  # the model that serves this request, even if another version is promoted meanwhile
    stale: bool = False  # True if the listener or the model has changed and the list could not be renewed
    # The listener's profile if this request had to read it; None if the cached list was fresh.
    profile: ListenerProfile | None = None
    # True if a task is about to renew the list, because of feedback. Songs of the feedback must not be drawn.
    awaits_renewal: bool = False

    @property
    def lacks_events(self) -> bool:
        """Whether there are newer sessions or feedback, whose songs must not be drawn."""
        return self.stale or self.awaits_renewal


def load_fresh(
    listener_id: int,
    loaded: LoadedModel,
    storage: Path,
    now: datetime,
    *,
    store: bool = True,
    request_renewal: RequestRenewal | None = None,
) -> ServingCandidates | None:
    """Cached candidates if fresh, else new ones; None for an unknown listener.

    If the model fails for this listener, an older list (marked as stale) or a cold-start list is used.

    Args:
        store: whether new candidates are stored for later requests.
        request_renewal: asks a worker for a new list. If given, a list that lacks only feedback of the last
            minute is used until it is renewed, without the songs of that feedback.
    """
    newest = _find_newest(listener_id, loaded.version_id)
    if (cached := _serve_if_fresh(newest, loaded, now)) is not None:
        return cached
    if request_renewal is not None:
        waiting = _serve_until_renewed(newest, loaded, now)
        if waiting is not None and request_renewal(listener_id):
            return waiting
    if loaded.model is not None and not loaded.model.is_intact():
        loaded = model_loader.loader_for(storage).reload()
    profile = listener_profiles.read_profile(listener_id, now)
    if profile is None:
        return None
    generated = _try_generate_one(profile, loaded, now, live=True)
    if generated is None and (older := _load_stale(profile, loaded)) is not None:
        return older
    generated = generated or _generate([profile], LoadedModel(None, "The model fails."), now, live=True)[0]
    if store:
        _store(generated.row)
    return generated


def generate_without(
    candidates: ServingCandidates, excluded: Collection[int], now: datetime
) -> ServingCandidates | None:
    """Candidates without these songs, for one request; None if the model fails or does not serve."""
    profile = candidates.profile or listener_profiles.read_profile(candidates.row.listener_id, now)
    if profile is None or candidates.stale:
        return None
    ids = frozenset(song for song in excluded if is_possible_id(song))
    rest = replace(profile, excluded=profile.excluded | ids)
    generated = _try_generate_one(rest, candidates.loaded, now, live=True)
    if generated is not None:
        # No history has this fingerprint, so the next request generates a list with all songs.
        generated.row.history, generated.row.run_id = ONE_REQUEST, ONE_REQUEST_RUN
        generated.row.save()
    return generated


def load_for_challenger(
    champion: ServingCandidates, model: ServingModel, now: datetime
) -> ServingCandidates | None:
    """The challenger's candidates for the same listener; None if it fails for this listener."""
    loaded = LoadedModel(model, None)
    listener_id = champion.row.listener_id
    newest = _find_newest(listener_id, loaded.version_id)
    if (cached := _serve_if_fresh(newest, loaded, now)) is not None:
        return cached
    # The task that renews the champion's list renews the challenger's too.
    if champion.awaits_renewal and (waiting := _serve_until_renewed(newest, loaded, now)) is not None:
        return waiting
    profile = champion.profile or listener_profiles.read_profile(listener_id, now)
    generated = _try_generate_one(profile, loaded, now, live=True) if profile is not None else None
    if generated is not None:
        _store(generated.row)
    return generated


def make_lists(
    profiles: Sequence[ListenerProfile], loaded: LoadedModel, now: datetime
) -> list[CandidateList | None]:
    """A new list of each listener, not stored; None if the model fails for the listener or finds no songs.

    Args:
        profiles: read together.
    """
    found = (_try_generate(block, loaded, now, live=False) for block in split_into_blocks(profiles))
    return [
        one.row if one is not None and len(one.candidates.songs) else None for block in found for one in block
    ]


def load_if_fresh(listener_id: int, loaded: LoadedModel, now: datetime) -> ServingCandidates | None:
    """The newest candidates by the loaded model, if they include all feedback and sessions."""
    return _serve_if_fresh(_find_newest(listener_id, loaded.version_id), loaded, now)


class NewestList(NamedTuple):
    row: CandidateList
    knows_history: bool  # whether the list includes all sessions
    knows_feedback: bool  # whether the list includes all feedback


def _find_newest(listener_id: int, version_id: int | None) -> NewestList | None:
    # It takes one query, or three the first time after an ingestion run. With `version_id` None it finds a
    # list that was made without a model.
    return _check_unchanged(sql.newest_candidate_list(listener_id, version_id))


def _serve_if_fresh(
    newest: NewestList | None, loaded: LoadedModel, now: datetime
) -> ServingCandidates | None:
    if newest is None or not newest.knows_feedback or not _knows_all_else(newest, loaded, now):
        return None
    candidates = _decode(newest.row)
    return ServingCandidates(newest.row, candidates, loaded) if candidates is not None else None


def _serve_until_renewed(
    newest: NewestList | None, loaded: LoadedModel, now: datetime
) -> ServingCandidates | None:
    """The newest list if it lacks only feedback, none of it older than `RENEWED_WITHIN`; else None."""
    if newest is None or not _knows_all_else(newest, loaded, now):
        return None
    unknown = Feedback.objects.filter(listener_id=newest.row.listener_id, pk__gt=newest.row.feedback_id)
    first = unknown.order_by("pk").values_list("received_at", flat=True).first()
    if first is None or now - first > RENEWED_WITHIN:
        return None
    candidates = _decode(newest.row)
    if candidates is None:
        return None
    return ServingCandidates(newest.row, candidates, loaded, awaits_renewal=True)


def _knows_all_else(newest: NewestList, loaded: LoadedModel, now: datetime) -> bool:
    return newest.knows_history and _is_current(newest.row, loaded, now)


def listeners_due(loaded: LoadedModel, now: datetime, *, among: Collection[int] | None = None) -> list[int]:
    """Ids of active listeners without a list that includes their newest events, ascending."""
    by_version = CandidateList.objects.filter(
        listener_id=OuterRef("listener_id"), version_id=loaded.version_id
    )
    sessions = ListeningHistory.objects.filter(user_id=OuterRef("listener_id"), unavailable_at=None)
    newer_feedback = Feedback.objects.filter(
        listener_id=OuterRef("listener_id"), pk__gt=OuterRef("feedback_id")
    )
    fresh = CandidateList.objects.filter(
        ~Exists(by_version.filter(pk__gt=OuterRef("pk"))),
        ~Exists(sessions.filter(created_at__gt=OuterRef("history_at"))),
        Q(history_at__isnull=False) | ~Exists(sessions),
        ~Exists(newer_feedback),
        version_id=loaded.version_id,
    )
    active = active_listeners(now)
    if among is not None:
        chosen = sql.ids_as_one_parameter(sorted(among))
        fresh, active = fresh.filter(listener_id__in=chosen), active.filter(pk__in=chosen)
    if loaded.version_id is None:
        fresh = fresh.filter(made_at__gte=now - POPULARITY_MAX_AGE)
    run_id = sql.newest_finished_run()
    up_to_date = set(fresh.filter(run_id=run_id).values_list("listener_id", flat=True))
    rows = list(fresh.exclude(run_id=run_id).only("id", "listener_id", "history", "run_id"))
    for start in range(0, len(rows), BATCH_SIZE):
        batch = rows[start : start + BATCH_SIZE]
        unchanged = _unchanged_since_run(batch)
        up_to_date |= {row.listener_id for row in batch if row.pk in unchanged}
    return [pk for pk in active.values_list("pk", flat=True) if pk not in up_to_date]


def split_due(listener_ids: Iterable[int]) -> dict[int, list[int]]:
    """Split listeners into parts by id; a listener's part, whose lease covers them, never changes."""
    parts: dict[int, list[int]] = {}
    for listener in listener_ids:
        parts.setdefault(listener % PARTS, []).append(listener)
    return parts


def prepare_part(
    part: int,
    listener_ids: Sequence[int],
    loaded: LoadedModel,
    now: datetime,
    on_progress: Callable[[int], object] = lambda done: None,
) -> int:
    """Prepare lists for those listeners still due, unless another process prepares this part.

    See `prepare_lists`.
    """
    return _prepare_parts({part: listener_ids}, loaded, now, on_progress)


def prepare_due(
    loaded: LoadedModel,
    now: datetime,
    on_progress: Callable[[int], object] = lambda done: None,
    *,
    due: Sequence[int] | None = None,
) -> int:
    """Prepare all due listeners in this process; see `prepare_part`. `due`: the due listeners, if known."""
    due = listeners_due(loaded, now) if due is None else due
    groups = _group_parts(sorted(split_due(due).items()))
    return sum(_prepare_parts(group, loaded, now, on_progress) for group in groups)


def renew_all(
    listener_ids: Sequence[int],
    loaded: LoadedModel,
    now: datetime,
    on_progress: Callable[[int], object] = lambda done: None,
) -> int:
    """Prepare these listeners, also those with fresh lists, but for parts that others prepare.

    See `prepare_part`.
    """
    groups = _group_parts(sorted(split_due(listener_ids).items()))
    return sum(_prepare_parts(group, loaded, now, on_progress, renews_fresh=True) for group in groups)


def prepare_on_cluster(
    generate: GenerateBatches,
    listener_ids: Sequence[int],
    loaded: LoadedModel,
    now: datetime,
    on_progress: Callable[[int], object] = lambda done: None,
    *,
    renews_fresh: bool = False,
) -> int:
    """Prepare these listeners with lists that other machines generate; see `prepare_part`."""
    return _prepare_parts(
        split_due(listener_ids), loaded, now, on_progress, renews_fresh=renews_fresh, generate=generate,
        duration=CLUSTER_LEASE_DURATION,
    )  # fmt: skip


def _group_parts(parts: Iterable[tuple[int, list[int]]]) -> Iterator[dict[int, list[int]]]:
    """Yield groups of parts to prepare together: a small site's due listeners are one batch."""
    group: dict[int, list[int]] = {}
    for part, listener_ids in parts:
        if group and sum(map(len, group.values())) + len(listener_ids) > BATCH_SIZE:
            yield group
            group = {}
        group[part] = listener_ids
    if group:
        yield group


def _prepare_parts(
    parts: Mapping[int, Sequence[int]],
    loaded: LoadedModel,
    now: datetime,
    on_progress: Callable[[int], object],
    *,
    renews_fresh: bool = False,
    generate: GenerateBatches | None = None,
    duration: timedelta = LEASE_DURATION,
) -> int:
    names = {f"candidate lists {part}": part for part in parts}
    leases = take_leases(names, timezone.now(), duration)

    def renew_leases() -> bool:
        return leases.renew(timezone.now() + duration)

    try:
        chosen = [listener for name in leases.names for listener in parts[names[name]]]
        if chosen and not renews_fresh:
            # Another process may have prepared them since they were found.
            chosen = listeners_due(loaded, now, among=chosen)
        if generate is None:
            return prepare_lists(chosen, loaded, now, on_progress, renew_leases)
        return store_batches(generate(chosen), now, on_progress, renew_leases)
    finally:
        leases.release()


def prepare_lists(
    listener_ids: Sequence[int],
    loaded: LoadedModel,
    now: datetime,
    on_progress: Callable[[int], object] = lambda done: None,
    may_continue: Callable[[], bool] = lambda: True,
) -> int:
    """Store a new candidate list for each listener, and return the number of new lists.

    Lists that were replaced long enough ago are deleted. A listener for whom the model fails gets no list.

    Args:
        on_progress: called after each batch with the number of its listeners.
        may_continue: called after each batch; if it returns False, no further batch is prepared.
    """
    batches = LocalEngine().map_rows(lambda ids: generate_rows(ids, loaded, now), listener_ids, BATCH_SIZE)
    return store_batches(batches, now, on_progress, may_continue)


def generate_rows(listener_ids: Sequence[int], loaded: LoadedModel, now: datetime) -> list[CandidateList]:
    """New candidate lists of these listeners, not stored; listeners for whom the model fails have none."""
    profiles = list(listener_profiles.read_profiles(listener_ids, now).values())
    found = (_try_generate(block, loaded, now, live=False) for block in split_into_blocks(profiles))
    return [one.row for block in found for one in block if one is not None]


def store_batches(
    batches: Iterable[tuple[Sequence[int], list[CandidateList]]],
    now: datetime,
    on_progress: Callable[[int], object],
    may_continue: Callable[[], bool] = lambda: True,
) -> int:
    """Store the new candidate lists of each batch of listeners; otherwise as `prepare_lists`."""
    count = 0
    for batch, rows in batches:
        count += replace_lists(rows, now, among=batch)
        on_progress(len(batch))
        if not may_continue():
            break
    return count


def replace_lists(rows: list[CandidateList], now: datetime, *, among: Collection[int] | None = None) -> int:
    """Store new lists, delete what they replace, and return how many were stored.

    Args:
        among: listeners whose replaced lists are deleted; None: those of the new lists.
    """
    count = _insert_lists(rows)
    prune_lists([row.listener_id for row in rows] if among is None else among, now)
    return count


def _insert_lists(rows: list[CandidateList]) -> int:
    """Insert the rows of listeners who still exist; return how many."""
    try:
        sql.insert_rows(CandidateList, rows)
    except IntegrityError:
        # Someone was deleted while their list was generated; the others' lists are still good.
        listeners = Listener.objects.filter(pk__in=[row.listener_id for row in rows])
        exist = set(listeners.values_list("pk", flat=True))
        rest = [row for row in rows if row.listener_id in exist]
        if len(rest) == len(rows):
            raise
        sql.insert_rows(CandidateList, rest)
        return len(rest)
    return len(rows)


def prune_lists(listener_ids: Iterable[int], now: datetime) -> int:
    return replaced_lists(now).filter(listener_id__in=listener_ids).defer("candidates").delete()[0]


def replaced_lists(now: datetime) -> QuerySet[CandidateList]:
    """Lists that were replaced long enough ago and from which no stored list was drawn."""
    newer = CandidateList.objects.filter(
        listener_id=OuterRef("listener_id"), pk__gt=OuterRef("pk"), made_at__lt=now - PRUNE_GRACE
    )
    by_same_version = newer.filter(version_id=OuterRef("version_id"))
    served = ServedList.objects.filter(
        Q(candidate_list_id=OuterRef("pk")) | Q(challenger_candidate_list_id=OuterRef("pk"))
    )
    # Any newer list replaces a list by a version that no longer serves, or a list without a model.
    tested = Experiment.objects.filter(status=Experiment.Status.RUNNING, challenger=OuterRef("version_id"))
    serves = Q(version__role=ModelVersion.Role.CHAMPION) | Exists(tested)
    is_replaced = Exists(by_same_version) | (Exists(newer) & ~serves)
    return CandidateList.objects.filter(is_replaced, ~Exists(served))


def active_listeners(now: datetime) -> QuerySet[Listener]:
    """Listeners with a session or feedback in the last 90 days, by id."""
    since = now - ACTIVE_WITHIN
    sessions = ListeningHistory.objects.filter(
        user_id=OuterRef("pk"), created_at__gte=since, unavailable_at=None
    )
    feedback = Feedback.objects.filter(listener_id=OuterRef("pk"), at__gte=since)
    return Listener.objects.filter(Exists(sessions) | Exists(feedback), unavailable_at=None).order_by("pk")


def newest_listeners(n: int) -> list[int]:
    """Ids of the n newest listeners, who often have no session yet, and so are not active."""
    # The source counts its ids up, and the primary key needs no sorting of a large table.
    available = Listener.objects.filter(unavailable_at=None)
    return list(available.order_by("-pk").values_list("pk", flat=True)[:n])


def _load_stale(profile: ListenerProfile, loaded: LoadedModel) -> ServingCandidates | None:
    newest = _check_unchanged(sql.newest_candidate_list_of_any_version(profile.listener_id))
    candidates = _decode(newest.row) if newest is not None else None
    if newest is None or candidates is None:
        return None
    return ServingCandidates(newest.row, candidates, loaded, stale=True, profile=profile)


def _check_unchanged(found: sql.Row | None) -> NewestList | None:
    if found is None:
        return None
    *columns, knows_sessions, knows_feedback, is_of_newest_run = found
    row = CandidateList.from_db(None, sql.CANDIDATE_LIST_COLUMNS, columns)
    knows_history = bool(knows_sessions) and (bool(is_of_newest_run) or row.pk in _unchanged_since_run([row]))
    return NewestList(row, knows_history, bool(knows_feedback))


def _unchanged_since_run(rows: Sequence[CandidateList]) -> set[int]:
    # These lists are marked with the run, so that their histories are not compared again before the next
    # run.
    run_id = sql.newest_finished_run()
    fingerprints = listener_profiles.read_history_fingerprints([row.listener_id for row in rows])
    # A run that brought songs makes all lists old: new songs have places in them.
    newest_songs = _last_run_with_new_songs()
    same = {
        row.pk for row in rows if row.history == fingerprints[row.listener_id] and row.run_id >= newest_songs
    }
    try:
        CandidateList.objects.filter(pk__in=same).update(run_id=run_id)
    except DatabaseError as error:
        # Not stored; the next request compares again.
        if not is_unwritable(error):
            raise
    return same


def _last_run_with_new_songs() -> int:
    reports = ResourceReport.objects.filter(resource="songs", new__gt=0, run__finished_at__isnull=False)
    return reports.order_by("-run_id").values_list("run_id", flat=True).first() or 0


def _try_generate(
    profiles: Sequence[ListenerProfile], loaded: LoadedModel, now: datetime, *, live: bool
) -> list[ServingCandidates | None]:
    """New candidates of each listener; None if the model fails for the listener."""
    try:
        return list(_generate(profiles, loaded, now, live=live))
    except DatabaseError:
        raise
    except Exception:
        if len(profiles) == 1:
            # Any error: an older candidate list is better for the listener than an error page.
            listener_id = profiles[0].listener_id
            logger.exception("scoring_failed listener=%s version=%s", listener_id, loaded.version_id)
            return [None]
    # The other listeners of the block get their candidates.
    return [_try_generate_one(profile, loaded, now, live=live) for profile in profiles]


def _try_generate_one(
    profile: ListenerProfile, loaded: LoadedModel, now: datetime, *, live: bool
) -> ServingCandidates | None:
    return _try_generate([profile], loaded, now, live=live)[0]


def _generate(
    profiles: Sequence[ListenerProfile], loaded: LoadedModel, now: datetime, *, live: bool
) -> list[ServingCandidates]:
    found = []
    for profile, candidates in zip(profiles, generate_block(profiles, loaded.model, now), strict=True):
        row = CandidateList(
            listener_id=profile.listener_id,
            version_id=loaded.version_id,
            made_at=now,
            live=live,
            history_at=profile.history_at,
            history=profile.history_fingerprint,
            run_id=profile.run_id,
            feedback_id=profile.feedback_id,
            candidates=candidate_codec.encode_candidates(candidates),
        )
        found.append(ServingCandidates(row, candidates, loaded, profile=profile))
    return found


def _store(row: CandidateList) -> None:
    """Store a list; on a full disk it serves only this request and has no primary key."""
    try:
        row.save()
    except DatabaseError as error:
        if not is_unwritable(error):
            raise
        logger.warning(
            "candidate_list_not_stored listener=%s reason=%s", row.listener_id, type(error).__name__
        )
        row.pk = None


def _decode(row: CandidateList) -> candidate_codec.CandidateArrays | None:
    try:
        return candidate_codec.decode_candidates(bytes(row.candidates))
    except candidate_codec.CandidateListDamaged:
        logger.exception("candidate_list_damaged id=%s", row.pk)
        return None


def _is_current(row: CandidateList, loaded: LoadedModel, now: datetime) -> bool:
    if row.version_id != loaded.version_id:
        return False
    return row.version_id is not None or now - row.made_at <= POPULARITY_MAX_AGE
