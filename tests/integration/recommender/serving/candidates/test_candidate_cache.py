"""Candidate lists: prepared in batches, generated on request, renewed when stale, pruned when replaced."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import current_app
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from ingestion.jobs.leases import take_lease
from ingestion.models import Lease, Listener, ListeningHistory
from recommender import listener_profiles, schedules, tasks
from recommender.engine.mix.model import OnlineMixModel
from recommender.engine.sampling.candidate_codec import decode_candidates
from recommender.feedback import events
from recommender.models import CandidateList, Feedback, sql
from recommender.registry import model_loader
from recommender.registry.model_loader import LoadedModel, ServingModel
from recommender.serving import recommendations
from recommender.serving.candidates import candidate_cache
from recommender.serving.list_limits import MAX_PER_ARTIST, ServingOptions
from recommender.serving.list_sampler import HEARD, RERECOMMENDED
from tests.support.builders.trained_model import train_champion

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LISTENER = 470


@pytest.fixture
def loaded(options: ServingOptions) -> LoadedModel:
    return model_loader.current_model(options.storage)


def model_of(loaded: LoadedModel) -> ServingModel:
    assert loaded.model is not None
    return loaded.model


def fresh(
    loaded: LoadedModel, options: ServingOptions, now: datetime = NOW
) -> candidate_cache.ServingCandidates:
    stocked = candidate_cache.load_fresh(LISTENER, loaded, options.storage, now)
    assert stocked is not None
    return stocked


def broken(loaded: LoadedModel) -> LoadedModel:
    """A model that fails at every listener: it has one weight too few."""
    model = model_of(loaded)
    assert isinstance(model.scorer, OnlineMixModel)
    mix = model.scorer.mix
    return replace(
        loaded, model=replace(model, scorer=OnlineMixModel(replace(mix, weights=mix.weights[:-1])))
    )


def test_the_batch_generates_a_candidate_list_for_every_active_listener(loaded: LoadedModel) -> None:
    idle = Listener.objects.exclude(pk__in=ListeningHistory.objects.values("user")).count()
    done: list[int] = []

    made = candidate_cache.prepare_lists(candidate_cache.listeners_due(loaded, NOW), loaded, NOW, done.append)

    assert made == Listener.objects.count() - idle
    assert sum(done) == made
    assert set(CandidateList.objects.values_list("version__role", "live")) == {("champion", False)}


def test_listeners_inactive_for_ninety_days_or_unavailable_are_not_due(loaded: LoadedModel) -> None:
    later = NOW + timedelta(days=100)
    Feedback.objects.create(
        event_id="a", listener_id=LISTENER, song_id=90577, kind="like", at=later, received_at=later
    )
    Listener.objects.filter(pk=559).update(unavailable_at=NOW)

    assert 559 not in candidate_cache.listeners_due(loaded, NOW)
    assert candidate_cache.listeners_due(loaded, later) == [LISTENER]


def test_a_prepared_listener_is_due_again_only_after_news_or_a_promotion(
    loaded: LoadedModel, options: ServingOptions
) -> None:
    due = candidate_cache.listeners_due(loaded, NOW)
    candidate_cache.prepare_lists(due, loaded, NOW)
    at_rest = candidate_cache.listeners_due(loaded, NOW)
    ListeningHistory.objects.create(user_id=due[0], items=[1], created_at=NOW, updated_at=NOW)
    event = events.FeedbackEvent("a", due[1], 90577, Feedback.Kind.LIKE)
    events.record_events([event], received_at=NOW)

    after_news = candidate_cache.listeners_due(loaded, NOW)
    train_champion(options.storage)
    after_a_promotion = candidate_cache.listeners_due(
        model_loader.ModelLoader(options.storage).current_model(), NOW
    )

    assert at_rest == []
    assert after_news == due[:2]
    assert after_a_promotion == due


def test_a_prepared_listener_is_served_from_the_cached_candidates(
    loaded: LoadedModel, options: ServingOptions
) -> None:
    candidate_cache.prepare_lists([LISTENER], loaded, NOW)

    served = recommendations.recommend(LISTENER, options=options, now=NOW)

    assert served.candidate_list == CandidateList.objects.get()
    assert not served.candidate_list.live


def test_candidates_are_the_models_best_songs_and_at_most_ten_by_one_artist(
    loaded: LoadedModel, options: ServingOptions
) -> None:
    model = model_of(loaded)
    profile = listener_profiles.read_profiles([LISTENER], NOW)[LISTENER].model_profile(model.song_ids)
    best = model.song_ids[model.scorer.candidates(profile, n=10).songs].tolist()

    content = fresh(loaded, options).candidates

    # Played songs only serve to fill a list that would end early.
    artists = content.artists[content.flags & HEARD == 0].tolist()
    counts = [artists.count(artist) for artist in set(artists)]
    assert content.songs.tolist()[:10] == best
    assert max(counts) <= MAX_PER_ARTIST
    assert content.values[1] == 1
    assert content.values[19] == 0


def test_rerecommended_songs_were_played_long_ago_and_not_skipped_or_disliked(
    loaded: LoadedModel, options: ServingOptions
) -> None:
    ListeningHistory.objects.filter(user=LISTENER).delete()
    old = NOW - timedelta(days=61)
    known = model_of(loaded).song_ids[:8].tolist()
    for place, song in enumerate(known):
        ListeningHistory.objects.create(
            user_id=LISTENER, items=[song], created_at=old - timedelta(hours=place), updated_at=old
        )
    lately = NOW - timedelta(days=59)
    ListeningHistory.objects.create(user_id=LISTENER, items=known[:1], created_at=lately, updated_at=lately)
    for kind, song in (("skip", known[1]), ("dislike", known[2])):
        Feedback.objects.create(
            event_id=kind, listener_id=LISTENER, song_id=song, kind=kind, at=old, received_at=old
        )

    content = fresh(loaded, options).candidates

    again = set(content.songs[content.flags & RERECOMMENDED > 0].tolist())
    available = model_of(loaded).scorer.available[3:8]
    assert again == {song for song, is_there in zip(known[3:], available, strict=True) if is_there}
    filling = set(content.songs[content.flags & HEARD > 0].tolist())
    assert set(known[:3]) & set(content.songs.tolist()) == set(known[:2]) & filling


def test_replaced_candidate_lists_are_pruned_unless_a_list_was_served_from_them(
    loaded: LoadedModel, options: ServingOptions
) -> None:
    candidate_cache.prepare_lists([LISTENER], loaded, NOW)
    served = recommendations.recommend(LISTENER, options=options, now=NOW)
    for hours in (1, 2, 3):
        candidate_cache.prepare_lists([LISTENER], loaded, NOW + timedelta(hours=hours))

    kept = list(CandidateList.objects.order_by("pk").values_list("pk", flat=True))

    # The one that was served, the newest, and the one before it, which a request may have just read.
    assert len(kept) == 3
    assert kept[0] == served.candidate_list_id
    assert recommendations.replay_list(served.pk).same


def test_if_the_model_fails_an_older_candidate_list_serves_as_stale(
    loaded: LoadedModel, options: ServingOptions
) -> None:
    recommendations.recommend(LISTENER, options=options, now=NOW)
    newly_heard = CandidateList.objects.get()
    song = int(decode_candidates(bytes(newly_heard.candidates)).songs[0])
    ListeningHistory.objects.create(user_id=LISTENER, items=[song], created_at=NOW, updated_at=NOW)
    keeper = model_loader.loader_for(options.storage)
    keeper._loaded = broken(loaded)

    served = recommendations.recommend(LISTENER, options=options, discovery=0, now=NOW)
    keeper._loaded = loaded

    assert served.stale
    assert served.candidate_list == newly_heard
    assert len(served.items) == 20
    assert song not in [item["song"] for item in served.items]
    assert recommendations.replay_list(served.pk).same


def test_if_the_model_fails_without_an_older_list_cold_start_candidates_serve(
    loaded: LoadedModel, options: ServingOptions
) -> None:
    stocked = fresh(broken(loaded), options)

    assert stocked.row.version is None
    assert len(stocked.candidates.songs) > 20


def test_a_model_that_fails_on_a_listener_does_not_end_the_batch(loaded: LoadedModel) -> None:
    assert candidate_cache.prepare_lists([LISTENER, 559], broken(loaded), NOW) == 0


def test_cold_start_candidates_expire_after_a_day_and_a_models_do_not(
    loaded: LoadedModel, options: ServingOptions
) -> None:
    without = LoadedModel(None, "none")
    first = fresh(without, options)

    same_day = fresh(without, options, NOW + timedelta(hours=24))
    next_day = fresh(without, options, NOW + timedelta(hours=25))
    by_model = fresh(loaded, options)
    later = fresh(loaded, options, NOW + timedelta(days=80))

    assert same_day.row == first.row
    assert next_day.row != first.row
    assert later.row == by_model.row


def test_at_a_cold_start_favorite_genres_come_first_and_played_songs_are_left_out(
    options: ServingOptions,
) -> None:
    Listener.objects.filter(pk=LISTENER).update(favorite_genres="Jazz")
    heard = listener_profiles.read_profiles([LISTENER], NOW)[LISTENER].songs.tolist()

    served = recommendations.recommend(
        LISTENER, options=ServingOptions(options.storage / "nowhere"), n=5, now=NOW
    )

    by_new_artists = {item["reason"] for item in served.items if not item["familiar"]}
    assert by_new_artists == {"Popular in jazz, one of your favourite genres"}
    assert not set(heard) & {item["song"] for item in served.items}
    assert [item["cluster"] for item in served.items] == [None] * 5


def test_a_batch_costs_few_queries_however_many_listeners_it_has(
    loaded: LoadedModel, django_assert_max_num_queries: Any
) -> None:
    due = candidate_cache.listeners_due(loaded, NOW)

    with django_assert_max_num_queries(8):
        assert candidate_cache.prepare_lists(due, loaded, NOW) == len(due) > 40


def test_the_timetable_has_one_entry_for_candidate_lists_and_it_names_the_task() -> None:
    schedules.sync_timetable()
    schedules.sync_timetable()

    entry = PeriodicTask.objects.get(name__startswith="Prepare shelves")
    assert entry.task == tasks.prepare_candidate_lists.name
    assert (entry.interval.every, entry.interval.period) == (15, "minutes")


def test_the_task_and_the_command_prepare_the_due_listeners(
    loaded: LoadedModel, options: ServingOptions, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.MODEL_STORAGE = options.storage
    event = events.FeedbackEvent("a", LISTENER, 90577, Feedback.Kind.LIKE)
    events.record_events([event], received_at=datetime.now(UTC))

    by_the_task = tasks.prepare_candidate_lists()
    call_command("preparelists")
    call_command("prepareshelves", "--all", "--json")  # the former name

    label = model_of(loaded).version.label
    out = capsys.readouterr().out.splitlines()
    assert by_the_task >= 1
    assert out[0] == f"Prepared 0 candidate lists with {label}."
    assert json.loads(out[1]) == {
        "lists": by_the_task, "shelves": by_the_task, "left_out": 0, "model_version": label
    }  # fmt: skip


def test_looking_for_newer_sessions_takes_as_long_with_a_long_history(loaded: LoadedModel) -> None:
    sessions = [
        ListeningHistory(
            user_id=LISTENER, items=[1], created_at=NOW - timedelta(hours=hours), updated_at=NOW
        )
        for hours in range(5_500)
    ]  # fmt: skip
    ListeningHistory.objects.bulk_create(sessions)
    CandidateList.objects.create(
        listener_id=LISTENER, version_id=loaded.version_id, made_at=NOW, history_at=NOW, candidates=b""
    )
    query = sql.newest_candidate_list_query(" AND version_id = %s")

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE listening_history")
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", [LISTENER, loaded.version_id])
        plan = cursor.fetchone()[0][0]["Plan"]

    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 30


def test_two_runs_at_once_prepare_no_listener_twice(loaded: LoadedModel) -> None:
    """The second run begins in the midst of the first one, whose listeners it has found due as well."""
    due = candidate_cache.split_due(candidate_cache.listeners_due(loaded, NOW))
    generated: list[int] = []

    def run_again(_: int) -> None:
        if not generated:
            generated.append(0)
            generated.extend(
                candidate_cache.prepare_part(part, listeners, loaded, NOW) for part, listeners in due.items()
            )

    first = sum(
        candidate_cache.prepare_part(part, listeners, loaded, NOW, run_again)
        for part, listeners in due.items()
    )

    listeners = sum(map(len, due.values()))
    assert len(due) > 1
    assert 0 < first < listeners
    assert first + sum(generated) == CandidateList.objects.count() == listeners


def test_the_part_of_a_process_that_died_is_taken_over(loaded: LoadedModel) -> None:
    part = LISTENER % candidate_cache.PARTS
    now = timezone.now()
    take_lease(f"candidate lists {part}", now, timedelta(minutes=5))

    while_held = candidate_cache.prepare_part(part, [LISTENER], loaded, NOW)
    Lease.objects.update(until=now)
    after_it_expired = candidate_cache.prepare_part(part, [LISTENER], loaded, NOW)

    assert (while_held, after_it_expired) == (0, 1)
    assert not Lease.objects.exists()


def test_a_process_that_lost_its_lease_stops_at_the_next_batch(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate_cache, "BATCH_SIZE", 1)
    listeners = candidate_cache.listeners_due(loaded, NOW)[:3]

    def lose_lease(_: int) -> None:
        Lease.objects.update(holder="another process")

    made = candidate_cache.prepare_part(0, listeners, loaded, NOW, lose_lease)

    assert (made, CandidateList.objects.count()) == (1, 1)
    assert Lease.objects.get().holder == "another process"


def test_a_preparation_on_a_cluster_and_one_here_prepare_no_listener_twice(loaded: LoadedModel) -> None:
    """Each begins in the midst of the other one, after it has found the same listeners due."""
    due = candidate_cache.listeners_due(loaded, NOW)
    here: list[int] = []

    def generate_slowly(listeners: Sequence[int]) -> Iterator[tuple[Sequence[int], list[CandidateList]]]:
        here.append(candidate_cache.prepare_due(loaded, NOW, due=due))
        here.append(candidate_cache.renew_all(due, loaded, NOW))
        yield listeners, candidate_cache.generate_rows(listeners, loaded, NOW)

    taken = take_lease(
        f"candidate lists {due[0] % candidate_cache.PARTS}", timezone.now(), timedelta(hours=1)
    )
    assert taken is not None
    on_cluster = candidate_cache.prepare_on_cluster(generate_slowly, due, loaded, NOW)
    taken.release()
    rest = candidate_cache.prepare_on_cluster(generate_slowly, due, loaded, NOW)

    assert 0 < on_cluster < len(due)
    assert on_cluster + rest == CandidateList.objects.count() == len(due)
    assert sum(here) == 0
    assert not Lease.objects.exists()


def test_lists_that_are_fresh_are_renewed_only_if_all_are_wanted(loaded: LoadedModel) -> None:
    listeners = candidate_cache.listeners_due(loaded, NOW)[:3]

    made = [
        candidate_cache.renew_all(listeners, loaded, NOW),
        candidate_cache.prepare_due(loaded, NOW, due=listeners),
        candidate_cache.renew_all(listeners, loaded, NOW),
    ]

    assert made == [3, 0, 3]


def test_renewing_all_says_whom_it_left_to_another_process(
    options: ServingOptions, settings: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    settings.MODEL_STORAGE = options.storage
    monkeypatch.setattr(timezone, "now", lambda: NOW)
    listeners = list(candidate_cache.active_listeners(NOW).values_list("pk", flat=True))
    part, others = min(candidate_cache.split_due(listeners).items())
    take_lease(f"candidate lists {part}", NOW, timedelta(minutes=5))

    call_command("preparelists", "--all", "--json")

    facts = json.loads(capsys.readouterr().out)
    assert (facts["lists"], facts["left_out"]) == (len(listeners) - len(others), len(others))


def test_a_small_site_is_prepared_in_one_batch_without_the_parts_of_another_process(
    loaded: LoadedModel, django_assert_max_num_queries: Any
) -> None:
    due = candidate_cache.listeners_due(loaded, NOW)
    taken, *others = sorted(candidate_cache.split_due(due).items())
    take_lease(f"candidate lists {taken[0]}", timezone.now(), timedelta(minutes=5))
    batches: list[int] = []

    # A batch, and six queries to take, renew and release each part's lease.
    with django_assert_max_num_queries(30 + 6 * len(others)):
        made = candidate_cache.prepare_due(loaded, NOW, batches.append)

    assert batches == [made] == [len(due) - len(taken[1])]
    assert [lease.name for lease in Lease.objects.all()] == [f"candidate lists {taken[0]}"]


def test_many_due_listeners_become_tasks_for_all_workers(
    loaded: LoadedModel, options: ServingOptions, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MODEL_STORAGE = options.storage
    monkeypatch.setattr(tasks, "SHARED_FROM", 1)
    now = datetime.now(UTC)
    record = events.FeedbackEvent("a", LISTENER, 90577, Feedback.Kind.LIKE)
    events.record_events([record], received_at=now)

    at_once = tasks.prepare_candidate_lists()
    with current_app.connection_for_read() as broker:
        queue = broker.SimpleQueue("default")
        sent = [queue.get_nowait().decode()[0] for _ in range(queue.qsize())]
    by_workers = sum(tasks.prepare_part_of_lists(part, listeners) for part, listeners in sent)

    assert (at_once, by_workers) == (0, sum(len(listeners) for _, listeners in sent))
    assert LISTENER in dict(sent)[LISTENER % candidate_cache.PARTS]
