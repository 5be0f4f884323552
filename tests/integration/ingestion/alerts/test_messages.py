"""Alert texts are complete in English and French, whatever facts an incident has."""

import ast
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polib  # type: ignore[import-untyped]
import pytest
from django.utils import translation

from ingestion.alerts.messages.formatting import LABELS, WORDS, format_duration, format_fact
from ingestion.alerts.messages.render import (
    message_templates,
    render_incident,
    render_message,
    render_resolution,
    render_test_message,
)
from ingestion.models import Incident
from tests.support.project import ROOT
from tests.support.translatable_texts import catalogues

# Each app's modules with texts, and their French translation.
SOURCES = {
    "ingestion": [*(ROOT / "ingestion" / "alerts" / "messages").glob("*.py")],
    "recommender": [ROOT / "recommender" / "monitoring" / "alert_messages.py"],
}
OPENED = datetime(2026, 11, 23, 2, 15, tzinfo=UTC)
# Every incident kind, with a key and facts as the checks write them.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "run_failed": ("run", {"error": "The source did not answer.", "error_kind": "unavailable"}),
    "run_refused": ("run", {"error": "900 of 1000 songs are gone"}),
    "run_abandoned": ("run", {"heartbeat_at": "2026-11-23T02:03:00+00:00", "stage": "reading songs"}),
    "run_partial": (
        "run_partial",
        {"error": "31 % of the rows were refused", "rejections": "songs: artist is missing (31)"},
    ),
    "history_window": (
        "history_window", {"expired": 50, "oldest_at": "2026-10-23T02:03:00+00:00"}
    ),
    "run_not_started": (
        "run_not_started",
        {"due_at": "2026-11-23T02:00:00+00:00", "slot": "2026-11-23 02:00 UTC", "reason": "beat_dead"},
    ),
    "schedule_never_due": (
        "schedule_never_due:1", {"entry": "Ingest the source every day", "reason": "never_matches"},
    ),
    "run_not_finished": ("run_not_finished", {"running_seconds": 11_000, "limit_minutes": 180.0}),
    "watchdog_dead": ("watchdog_dead", {"last_seen_at": "2026-11-23T02:00:00+00:00", "age_seconds": 900}),
    "backup_old": (
        "backup_old", {"made_at": "2026-11-22T03:45:00+00:00", "age_hours": 30.5, "limit_hours": 26.0}
    ),
    "backup_incomplete": (
        "backup_incomplete", {"version": ["2026w45.1"], "reason": "labels.npy is missing."}
    ),
    "login_locked": ("login_locked:10.1.2.3", {"address": "10.1.2.3", "failures": 10}),
    "beat_dead": ("beat_dead", {"last_seen_at": "2026-11-23T02:00:00+00:00", "age_seconds": 900}),
    "worker_gone": ("worker_gone", {"last_seen_at": "2026-11-23T02:00:00+00:00", "age_seconds": 900}),
    "queue_growing": ("queue_growing", {"length": 1200, "limit": 100}),
    "data_stale": ("data_stale:songs", {"age_hours": 31.2, "limit_hours": 26.0}),
    "disk_nearly_full": (
        "disk_nearly_full:database",
        {"free_share": 0.042, "free_bytes": 2_140_000_000, "limit_share": 0.1},
    ),
    "model_stale": ("model_stale", {"age_days": 15.5, "limit_days": 14, "version": "2026w45.1"}),
    "model_degraded": ("model_degraded", {"reason": "its file is gone"}),
    "training_failed": ("training_failed", {"error": "There are no songs", "training": 7}),
    "model_storage_away": ("model_storage_away", {"reason": "EndpointConnectionError: s3.example:9000"}),
    "delivery_failing": ("delivery_failing:slack", {"failures": 3, "error": "It answered 500"}),
    "database_away": ("database_away", {"error": "OperationalError: connection refused"}),
    "watchdog_check_failed": ("watchdog_check_failed:disk_room", {"error": "OSError"}),
    "unusual": (
        "unusual:received:songs",
        {"measure": "received", "resource": "songs", "value": 500.0, "median": 1000.0, "low": 900.0,
         "high": 1100.0, "n": 28, "verdict": "low"},
    ),
    "engagement_deviates": (
        "engagement_deviates",
        {"version": "2026w45.1", "value": 0.1, "verdict": "low", "days": ["2026-11-20", "2026-11-21"]},
    ),
    "cohesion_deviates": ("cohesion_deviates", {"value": 0.1, "mean": 0.2, "low": 0.15}),
    "feed_fault": ("feed_fault:tempo", {"fault": "the same value in every row"}),
    "challenger_failed": (
        "challenger_failed",
        {"version": "2026w48.1", "experiment": "Experiment 3", "reason": "its files are damaged"},
    ),
    "experiment_waits": ("experiment_waits:3", {"experiment": 3, "reason": "the history is empty."}),
    "refreshes_unproven": ("refreshes_unproven", {"number": 2, "versions": "2026w46.1, 2026w47.1"}),
    "yardstick_fell": ("yardstick_fell", {"value": 0.01, "best": 0.05, "version": "2026w40.1"}),
    "refreshes_frozen": ("refreshes_frozen", {"reason": "the champion lost to the one of 28 days before."}),
    "experiment_invalid": ("experiment_invalid", {"experiment": 3, "reason": "the split is not even"}),
    "rolled_back": ("rolled_back", {"from_version": "2026w46.1", "to_version": "2026w45.1"}),
    "drift_found": ("drift_found:listening", {"causes": ["tempo", "genres"], "value": 0.2, "limit": 0.1}),
}  # fmt: skip


def make_incident(kind: str, *, bare: bool = False, **fields: Any) -> Incident:
    key, facts = KINDS[kind]
    usual: dict[str, Any] = {
        "pk": 5, "key": kind if bare else key, "kind": kind, "severity": "critical", "opened_at": OPENED,
        "seen_at": OPENED, "count": 1, "facts": {} if bare else facts,
    }  # fmt: skip
    return Incident(**{**usual, **fields})


def french_file(app: str) -> Path:
    return ROOT / app / "locale" / "fr" / "LC_MESSAGES" / "django.po"


def translatable_texts(app: str) -> set[tuple[str | None, str]]:
    """Every text of an app's alerts that needs a French translation, with its context."""
    found: set[tuple[str | None, str]] = set()
    if app == "ingestion":
        found = {("fact", word) for word in (*WORDS.values(), "d")}
        found |= {("number", label) for label in LABELS.values()}
    short = {text for _, text in found}
    for file in SOURCES[app]:
        for call in ast.walk(ast.parse(file.read_text())):
            match call:
                case ast.Call(func=ast.Name("_" | "gettext"), args=[ast.Constant(text)]) if text not in short:
                    found.add((None, str(text)))
    return found


def test_every_text_of_an_alert_is_translated_and_no_fact_or_label_is_unused() -> None:
    texts = {text for app in SOURCES for text in translatable_texts(app)}
    # A text of several apps is in the catalogue of the first one.
    french = [entry for catalogue in catalogues().values() for entry in catalogue.translated_entries()]
    translated = {(entry.msgctxt, entry.msgid) for entry in french}

    assert texts - translated == set()
    assert {text for text in translated if text[0] in {"fact", "number"}} - texts == set()


@pytest.mark.parametrize("app", SOURCES)
def test_the_french_names_the_same_facts_as_the_english(app: str) -> None:
    for entry in polib.pofile(str(french_file(app))):
        english = entry.msgid_plural or entry.msgid
        for french in entry.msgstr_plural.values() or [entry.msgstr]:
            assert sorted(re.findall(r"{\w+}", french)) == sorted(re.findall(r"{\w+}", english)), entry


@pytest.mark.parametrize("app", SOURCES)
def test_the_compiled_french_is_up_to_date(app: str) -> None:
    french = french_file(app)

    assert french.with_suffix(".mo").read_bytes() == polib.pofile(str(french)).to_binary()


def test_every_kind_has_its_own_template() -> None:
    assert set(KINDS) == set(message_templates())


@pytest.mark.parametrize("bare", [False, True], ids=["with its facts", "without any"])
@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_says_what_since_when_how_bad_and_what_to_do(kind: str, language: str, bare: bool) -> None:
    text = render_incident(make_incident(kind, bare=bare), language)

    assert not re.search(r"python manage\.py [a-z -]+\.$", text.what_to_do, re.MULTILINE)
    for part in (text.subject, text.what, text.since, text.how_bad, text.what_to_do):
        assert part
        assert not re.search(r"[{}]|None|  ", part)
    assert len(text.subject) < 110
    assert "\n" not in text.subject


@pytest.mark.parametrize("kind", KINDS)
def test_french_is_another_text_than_english(kind: str) -> None:
    english, french = (render_incident(make_incident(kind), language) for language in ("en", "fr"))

    assert english.subject != french.subject
    assert not {english.what, english.since, english.how_bad} & {french.what, french.since, french.how_bad}


def test_a_whole_alert_in_english() -> None:
    text = render_incident(make_incident("data_stale"), "en")

    assert text.subject == "Stale data: songs, 31 h 12 min old"
    assert text.what == ("The data is older than allowed. Data: songs. Age: 31 h 12 min; the limit is 26 h.")
    assert text.since == "Since 2026-11-23 02:15 UTC."
    assert text.how_bad == "Critical. Recommendations do not reflect anything newer."
    assert text.lines == (("Age", "31 h 12 min"), ("Limit", "26 h"))


def test_a_whole_alert_in_french() -> None:
    text = render_incident(make_incident("unusual"), "fr")

    assert text.subject == (
        "Exécution inhabituelle\xa0: lignes reçues, morceaux\xa0: 500, attendu de 900 à 1\u202f100"
    )
    assert "Valeur\xa0: 500, plus bas que prévu." in text.what
    assert ("Mesure", "lignes reçues") in text.lines


def test_an_unusual_duration_is_shown_in_minutes_and_a_share_in_percent() -> None:
    facts = {"measure": "duration", "value": 725.0, "low": 60.0, "high": 130.0, "median": 90.0}
    slow = make_incident("unusual", key="unusual:duration:", facts=facts)
    facts = {"value": 0.31, "low": 0.0, "high": 0.02}
    refused = make_incident("unusual", key="unusual:rejected_share:songs", facts=facts)

    assert (
        render_incident(slow, "en").subject == "Unusual run: duration: 12 min, expected 1 min to 2 min 10 s"
    )
    assert render_incident(refused, "en").subject == (
        "Unusual run: share of rejected rows, songs: 31 %, expected 0 % to 2 %"
    )


def test_a_resolution_says_how_long_the_incident_lasted_and_which_run_resolved_it() -> None:
    over = make_incident(
        "run_failed", resolved_at=OPENED + timedelta(hours=25, minutes=5), resolved_by_run_id=12
    )

    text = render_resolution(over, "en")

    assert text.what == "This incident is resolved: The ingestion run failed. Run 12 resolved it."
    assert text.since == "It lasted 25 h 5 min: from 2026-11-23 02:15 UTC to 2026-11-24 03:20 UTC."
    assert text.what_to_do == "No action is needed."


def test_a_kind_without_a_template_still_shows_its_facts() -> None:
    incident = make_incident("beat_dead", key="moon_fell:earth", facts={"height_bytes": 3e6})
    incident.kind = "moon_fell"

    text = render_incident(incident, "fr")

    assert text.subject == "Problème détecté\xa0: moon_fell:earth"
    assert text.lines == (("Height bytes", "3 Mo"),)


@pytest.mark.parametrize(
    "value", [None, "", "x" * 9000, "two\nlines", [], {}, True, float("nan"), -1, 1e30, "{x}"]
)
@pytest.mark.parametrize("name", ["age_hours", "due_at", "free_bytes", "limit_share", "value", "reason", "x"])
def test_no_fact_prevents_an_alert_from_being_sent(name: str, value: Any) -> None:
    for kind in KINDS:
        subject, _ = render_message(make_incident(kind, facts={name: value}), "opened", "http://x/", "fr")

        assert len(subject) <= 200
        assert "\n" not in subject


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (2.34, "2.3 s"), (59.6, "60 s"), (60, "1 min"), (131, "2 min 11 s"), (3600, "1 h"),
     (100_000, "27 h 47 min"), (172_800, "2 d"), (273_600, "3 d 4 h")],
)  # fmt: skip
def test_durations_have_their_two_largest_units(seconds: float, told: str) -> None:
    with translation.override("en"):
        assert format_duration(seconds) == told


@pytest.mark.parametrize(
    ("name", "value", "english", "french"),
    [("length", 12_345, "12\u202f345", "12\u202f345"), ("free_share", 0.0425, "4.25 %", "4,25 %"),
     ("free_bytes", 2_140_000_000, "2.14 GB", "2,14 Go"), ("run", 12_345, "12345", "12345"),
     ("age_days", 15.5, "15 d 12 h", "15 j 12 h"), ("resource", "users", "listeners", "auditeurs")],
)  # fmt: skip
def test_numbers_follow_the_language(name: str, value: Any, english: str, french: str) -> None:
    with translation.override("en"):
        assert format_fact(name, value, {}) == english
    with translation.override("fr"):
        assert format_fact(name, value, {}) == french


def test_times_are_shown_in_the_time_zone_of_the_service(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Paris"

    assert render_incident(make_incident("run_failed"), "en").since == "Since 2026-11-23 03:15 CET."


def test_messages_say_whether_an_incident_is_new_still_open_or_resolved() -> None:
    incident = make_incident("beat_dead", severity="warning", resolved_at=OPENED)

    subjects = [render_message(incident, event, "", "en")[0] for event in ("opened", "reminder", "resolved")]

    assert subjects == [
        "[MoovitaMix] Warning: Celery Beat is not running: no run starts automatically",
        "[MoovitaMix] Still open: Celery Beat is not running: no run starts automatically",
        "[MoovitaMix] Resolved: Celery Beat is not running: no run starts automatically",
    ]
    assert (
        render_test_message("slack", "", "fr")[0]
        == "[MoovitaMix] Test\xa0: les alertes arrivent par ce canal"
    )
