"""Pages in French: no text is left out of translation, none lacks one, and the API stays English.

A text that no translation function has seen is found without reading French: the pages are rendered with
every translation in brackets, and what is outside of them must be data.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import urljoin

import pytest
from django.apps import apps
from django.contrib.admin.sites import site
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.test import Client
from django.urls import NoReverseMatch, reverse
from django.utils import timezone, translation
from django.utils.translation import trans_real

from ingestion.models import AnomalyCheck, IngestionRun, Notification, Rejection, ResourceReport
from ingestion.stored_sentences import run_summary
from moovitamix.dashboard.formatting import format_measure
from recommender.dashboard.formatting import format_decimal, format_evidence, format_percent
from recommender.dashboard.stored_sentences import translate_stored
from recommender.experiments import lifecycle
from recommender.experiments.interleaving_scores import open_scored_list
from recommender.models import (
    ClusterNameRule,
    DriftReport,
    EngagementDay,
    ModelVersion,
    Promotion,
    ScoredList,
    SongEvidence,
    TrainingRun,
)
from recommender.registry.cluster_name_rules import apply_name_rules
from recommender.serving.reasons.cluster_name_translation import WORDS as MOODS
from tests.support.builders.busy_service import fill_service
from tests.support.builders.experiments import make_healthy_feed, make_interleaved_list, make_version

OPEN, CLOSE = "\u27e6", "\u27e7"  # white square brackets, which no text has
IN_BRACKETS: Final = re.compile(f"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}")
TRANSLATIONS: Final = translation._trans  # type: ignore[attr-defined]
SHOWN_ATTRIBUTES: Final = ("aria-label", "title", "alt", "placeholder")
VOID: Final = {"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
# Elements whose text is not prose, or is in a language that the element names.
SKIPPED: Final = {"script", "style", "code", "pre", "kbd", "svg", "template"}
# Names, units and symbols that are the same in every language.
SAME: Final = {
    "MoovitaMix", "Axes", "Otp_Totp",
    "UTC", "NDCG", "RP3beta", "Celery Beat", "start-pipeline", "min", "ms", "mix",
    "classic",
    "API", "CPU", "CSV", "NDJSON", "h", "s", "z", "fr", "en", "English", "Français", "ada",
}  # fmt: skip
# Dotted names of tasks, and a masked password.
IDENTIFIER: Final = re.compile(r"[a-z_]+(?:\.[a-z_]+)+|.*\*{6,}.*")
# What stands between two stored texts, such as a song and its album.
JOINED: Final = re.compile(r": | \(|\)|, ")
WORD: Final = re.compile(r"[^\W\d_]{2,}")
ROW: Final = re.compile(r"/(?:\d+|[0-9a-f-]{36}|2026w[\d.]+)/")
# The API answers in English; a logout would end the test.
ENGLISH_OR_FILES: Final = ("/api/v1/", "/api/schema/", "/static/", "/admin/logout/", "//", "/listen/mix.")


class VisibleTexts(HTMLParser):
    """The texts and labels of a page, without those that are marked as not to be translated."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.english: list[str] = []  # marked as English
        self.links: list[str] = []
        self._english = [False]
        self._skipping: list[bool] = [False]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        # A page as a whole is never marked.
        is_marked = tag != "html" and (named.get("translate") == "no" or named.get("lang") == "en")
        skips = (
            self._skipping[-1]
            or tag in SKIPPED
            or is_marked
            or "material-symbols-outlined" in (named.get("class") or "")
        )
        if tag == "a" and (link := named.get("href")):
            self.links.append(link)
        if not skips:
            self.texts += [text for name in SHOWN_ATTRIBUTES if (text := named.get(name))]
            if tag == "input" and named.get("type") in {"submit", "button"}:
                self.texts.append(named.get("value") or "")
        if tag not in VOID:
            self._skipping.append(skips)
            self._english.append(self._english[-1] or (tag != "html" and named.get("lang") == "en"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._skipping.pop()
            self._english.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and len(self._skipping) > 1:
            self._skipping.pop()
            self._english.pop()

    def handle_data(self, data: str) -> None:
        if not self._skipping[-1]:
            self.texts.append(data)
        elif self._english[-1] and data.strip():
            self.english.append(" ".join(data.split()))


def parsed(page: str) -> VisibleTexts:
    parser = VisibleTexts()
    parser.feed(page)
    return parser


def untranslated(page: str, data: set[str]) -> list[str]:
    """What the page shows outside of the brackets, and what is not data."""
    parser = parsed(page)
    # A translation may hold elements, such as links; so brackets are found in the whole page.
    rest = "\0".join(parser.texts)
    while IN_BRACKETS.search(rest):
        rest = IN_BRACKETS.sub("\0", rest)
    pieces = (piece.strip(' \t\n.,:;()#-+|/\N{RIGHTWARDS ARROW}“”"') for piece in rest.split("\0"))
    return [piece for piece in pieces if WORD.search(piece) and not _is_data(piece, data)]


def _is_data(piece: str, data: set[str]) -> bool:
    # A title begins with a capital letter.
    if {piece, piece[:1].lower() + piece[1:]} & data or piece in SAME or IDENTIFIER.fullmatch(piece):
        return True
    parts = JOINED.split(piece)
    if len(parts) > 1:
        return all(not WORD.search(part) or _is_data(part, data) for part in parts)
    words = [word for word in WORD.findall(piece) if word not in SAME]
    # More words would be a text that is put together from words that are also stored.
    return len(words) <= 1 and all(word.lower() in data for word in words)


def stored_words() -> set[str]:
    """What the tables hold, also within JSON: whole texts, and the words of short ones.

    Without the sentences that rules, gates and reports write and the moods of cluster names: pages translate
    them, so they are not data.
    """
    # Permissions are named by their code. Labels of apps and models would hide the same words on pages.
    found = {*Permission.objects.values_list("name", flat=True), "rock"}
    # A rejection's title has both.
    found |= {f"{row.field} {row.reason}" for row in Rejection.objects.all()}
    for model in set(apps.get_models()) - {ContentType, Permission}:
        for row in model._default_manager.values():
            for text in leaves_of(list(row.values())):
                if is_translated_where_it_is_shown(text):
                    continue
                # Words of a sentence would hide the same words outside of it.
                found |= {text.strip(" ."), *(WORD.findall(text.lower()) if text.count(" ") < 3 else ())}
    return found - set(MOODS)


def is_translated_where_it_is_shown(text: str) -> bool:
    with translation.override("fr"):
        is_sentence = translate_stored(text) is not None or "lang=" not in run_summary(text)
    return is_sentence or not set(text.split(", ")[1:]).isdisjoint(MOODS)


def leaves_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (str(key), *leaves_of(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves_of(inner)
    else:
        yield str(value)


NDCG: Final = "NDCG@20 0.1632 on the latest week, 1.3 times popularity's (30 listeners)."
GATES: Final = (
    "All files are unchanged since the training.",
    "50 listeners got a list each, 95 % of them within 12.5 ms of CPU.",
)
# What may stay English: errors of the system, and crontabs of forms that the product does not use.
TECHNICAL: Final = ("2026w48.1: There is no model in", "Every minute")
SUMMARY: Final = "529 songs: 2 new, 1 changed, 526 unchanged, 0 rejected, 1 missing"


@pytest.fixture
def staff(db: None) -> Client:
    client = Client(headers={"Accept-Language": "fr-CH, fr;q=0.9"})
    client.force_login(User.objects.create_superuser("ada", "ada@example.org", "x"))
    return client


@pytest.fixture
def full() -> None:
    """A service in which everything has happened."""
    now = timezone.now()
    fill_service(now)
    run = IngestionRun.objects.exclude(status="running").latest("pk")
    IngestionRun.objects.filter(pk=run.pk).update(
        summary=SUMMARY,
        stages=[{"name": "reading songs", "started_at": run.started_at.isoformat(), "seconds": 15.0}],
    )
    ResourceReport.objects.filter(run=run, resource="songs").update(
        sample=[{"key": 7, "field": "album", "old": "Blue", "new": "Blue (Deluxe)"}]
    )
    AnomalyCheck.objects.filter(run=run).update(value=180.0, verdict="high")
    champion = ModelVersion.objects.get()
    gates = {"passed": True, "gates": [{"sentence": one} for one in GATES]}
    Promotion.objects.create(promoted=champion, reason=f"The first model. {NDCG}", by="the loop", at=now)
    TrainingRun.objects.update(summary=f"Version 2026w48.1 is champion. {NDCG}")
    choice = {"clusters": {"n_clusters": 2, "rule": "The default for a catalogue of this size."}}
    ModelVersion.objects.update(configuration=choice)
    experiment = lifecycle.propose_experiment(
        make_version("2026w45.1"), kind="change", by="test", now=now - timedelta(days=4), gates=gates
    )
    teams = [False, True] * 2
    for day in range(3):
        served = make_interleaved_list(experiment, 1, now - timedelta(days=3 - day), [10, 11, 12, 13], teams)
        open_scored_list(served, experiment, teams)
    ScoredList.objects.update(closed_at=now, wins=2, losses=1)
    make_healthy_feed(now)
    lifecycle.judge_experiments(now, lambda one: None)
    for number, name in ((1, "Rock, calm"), (2, "Metal"), (3, "Chosen by staff")):
        facts = {"family": {"id": number, "name": name}, "moods": ["calm"], "map": [0.1, 0.2]}
        champion.clusters.create(number=number, position=number, name=name, size=10, facts=facts)
    ClusterNameRule.objects.create(number=3, rule="rename", name="Live")
    apply_name_rules()
    causes = [{"clusters": [{"id": 1, "name": "Rock, calm"}], "others": 2, "change": 0.16,
               "songs": [{"id": 10, "name": "Song 10 by Artist 10", "plays": 49}]}]  # fmt: skip
    for kind in DriftReport.Kind.values:
        DriftReport.objects.create(
            version=champion, kind=kind, week=now.date(), at=now, n=2183, listeners=64, p=0.0005,
            effect=0.236, limit=0.1, drifted=True, alarm=True, causes=causes,
        )  # fmt: skip
    EngagementDay.objects.create(version=champion, day=now.date(), lists=20, listeners=9, engaged=1.5)
    SongEvidence.objects.create(
        version=champion, song_id=10, before=1, after=2, listeners=14, log_odds=2.2, margin=0.9
    )
    Rejection.objects.update(field="name")
    # In English, as stored.
    Notification.objects.update(
        content={"headline": "x", "what": "x", "sections": [], "numbers": [], "link": ""}
    )


def addresses() -> Iterator[str]:
    yield from (
        reverse(name)
        for name in (
            "home",
            "models",
            "songs",
            "listeners",
            "two-factor",
            "api-docs",
            "admin:index",
            "listen",
        )
    )
    yield reverse("admin:recommender_modelversion_compare")
    yield reverse("admin:recommender_experiment_set_split")
    yield reverse("admin:ingestion_ingestionrun_run_now")
    yield from (f"{reverse('search')}?s={text}" for text in ("1", "s", "s&extended=1"))
    yield "/no/such/page/"
    for run in IngestionRun.objects.all():
        yield reverse("run", args=[run.pk])
    for model in site._registry:
        yield from addresses_of(model)


def addresses_of(model: type[Model]) -> Iterator[str]:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    yield reverse(f"{name}_changelist")
    first = model._default_manager.first()
    if first is not None:
        yield reverse(f"{name}_change", args=[first.pk])
    try:
        yield reverse(f"{name}_add")
    except NoReverseMatch:
        return


@pytest.fixture
def untranslatable(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Puts each translation into brackets; the English texts that were looked up and have no French one."""
    missing: set[str] = set()
    french = trans_real.translation("fr")._catalog  # type: ignore[attr-defined]

    def one(message: str) -> str:
        text = message.replace("\r\n", "\n").replace("\r", "\n")
        if text and translation.get_language() == "fr" and french.get(text) is None:
            missing.add(text)
        return f"{OPEN}{message}{CLOSE}" if message else ""

    def several(singular: str, plural: str, number: int) -> str:
        return f"{OPEN}{singular if number == 1 else plural}{CLOSE}"

    for name, replaced in (
        ("gettext", one),
        ("ngettext", several),
        ("pgettext", lambda context, message: f"{OPEN}{message}{CLOSE}"),
        ("npgettext", lambda context, singular, plural, number: several(singular, plural, number)),
    ):
        monkeypatch.setattr(TRANSLATIONS, name, replaced, raising=False)
    return missing


def untranslated_in(pages: dict[str, str], data: set[str]) -> str:
    """Each text with its pages, a line each; as one text, which pytest shows whole."""
    found = {(text, address) for address, page in pages.items() for text in untranslated(page, data)}
    return "\n".join(f"{address}: {text}" for text, address in sorted(found))


def open_all(staff: Client) -> dict[str, str]:
    """The pages of `addresses` and those that they lead to, one of each kind."""
    found: dict[str, str] = {}
    waiting = list(addresses())
    kinds = {kind_of(address) for address in waiting}
    for address in waiting:
        answer = staff.get(address)
        if answer.status_code not in {200, 404} or "html" not in answer["Content-Type"]:
            continue
        found[address] = answer.content.decode()
        for link in parsed(found[address]).links:
            url = urljoin(address, link).split("#")[0]
            if url.startswith("/") and not url.startswith(ENGLISH_OR_FILES) and kind_of(url) not in kinds:
                kinds.add(kind_of(url))
                waiting.append(url)
    return found


def kind_of(address: str) -> str:
    """The address without numbers, names of rows, and values of filters."""
    path, _, query = address.partition("?")
    names = "&".join(sorted(part.split("=")[0] for part in query.split("&")))
    return f"{re.sub(ROW, '/N/', path)}?{names if path.startswith('/models') else ''}"


@pytest.mark.slow
def test_every_text_of_every_page_is_translated_and_has_a_french_translation(
    staff: Client, full: None, untranslatable: set[str]
) -> None:
    pages = open_all(staff)

    assert len(pages) > 130
    assert untranslated_in(pages, stored_words()) == ""
    english = {text for page in pages.values() for text in parsed(page).english}
    assert {text for text in english if not text.startswith(TECHNICAL)} == set()
    assert "\n".join(sorted(untranslatable)) == ""


@pytest.mark.slow
def test_every_text_of_empty_pages_is_translated_and_has_a_french_translation(
    staff: Client, untranslatable: set[str]
) -> None:
    pages = open_all(staff)
    login = reverse("admin:login")
    pages[login] = Client(headers={"Accept-Language": "fr"}).get(login).content.decode()

    assert untranslated_in(pages, stored_words()) == ""
    english = {text for page in pages.values() for text in parsed(page).english}
    assert {text for text in english if not text.startswith(TECHNICAL)} == set()
    assert "\n".join(sorted(untranslatable)) == ""


def test_a_page_is_in_the_language_that_the_browser_prefers(staff: Client) -> None:
    french = staff.get("/")
    english = staff.get("/", headers={"Accept-Language": "de, en;q=0.5, fr;q=0.4"})

    assert (french["Content-Language"], english["Content-Language"]) == ("fr", "en")
    assert "Accept-Language" in french["Vary"]
    assert '<html lang="fr"' in french.content.decode()
    assert '<html lang="fr"' in staff.get("/api/docs/").content.decode()
    assert "Dernières exécutions" in french.content.decode()
    assert "Latest ingestion runs" in english.content.decode()


def test_the_api_answers_in_english_whatever_the_client_prefers(staff: Client) -> None:
    page = staff.get("/api/v1/songs/?page_size=x").json()
    missing = staff.get("/api/v1/songs/404/").json()

    assert "number" in str(page).lower() or "unknown" in str(page).lower()
    assert "not" in str(missing).lower()
    assert not re.search("[éèà]", f"{page}{missing}")


def test_numbers_have_the_language_s_decimal_separator() -> None:
    with translation.override("fr"):
        french = [format_measure(1_234_567, "bytes"), format_percent(0.125), format_decimal(0.5, 3),
                  format_evidence(2.2)]  # fmt: skip

    assert [text.replace("\N{NARROW NO-BREAK SPACE}", " ") for text in french] == [
        "1,2 Mo", "12,5 %", "0,500", "9,0 : 1",
    ]  # fmt: skip
