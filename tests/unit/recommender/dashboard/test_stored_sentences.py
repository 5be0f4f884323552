"""Stored sentences in French: each one that rules, gates and trainings write is found again."""

import random
from collections.abc import Iterator
from typing import Any, Final

import pytest
from django.utils import translation

from ingestion.stored_sentences import run_summary
from recommender.dashboard.formatting import stored_text
from recommender.dashboard.stored_sentences import actor_name, translate_stored
from recommender.engine.experiments.decision_rules import apply_decision_rules
from recommender.engine.experiments.decision_thresholds import (
    DEFAULT_RULES,
    RULES_VERSION_1,
    RULES_VERSION_2,
    RULES_VERSION_3,
)
from recommender.engine.experiments.evidence import (
    AllocationCheck,
    DecisionOutcome,
    ExperimentEvidence,
    ExperimentKind,
    ExperimentVerdict,
    GuardrailDifference,
)

RULES: Final = (RULES_VERSION_1, RULES_VERSION_2, RULES_VERSION_3, DEFAULT_RULES)
SPACE: Final = "\N{NARROW NO-BREAK SPACE}"
FAULTS: Final[tuple[dict[str, Any], ...]] = (
    *[{}] * 12,
    {"leaked": 3},
    {"crossed": 0.125},
    {"feed": "no import has succeeded since 2026-11-23 02:00 UTC."},
    {"coins": (AllocationCheck("Lists of the test", 900, 100, 0.7),)},
    {"guardrails": (GuardrailDifference("Engaged songs a list", -0.3, -0.5, -0.1, 400, 400),)},
)


def verdicts() -> Iterator[ExperimentVerdict]:
    """Verdicts on random evidence, of each kind of experiment and each version of the rules."""
    draw = random.Random(7)
    for kind in ExperimentKind:
        for rules in RULES * 150:
            rounds = draw.choice(((0, 0), (30, 28), (400, 90), (90, 400)))
            evidence = ExperimentEvidence(
                kind, draw.choice((1, 9, 13, 15, 30, 34, 63, 99)), *rounds, *rounds,
                listeners=draw.choice((3, 60)), z=draw.choice((-9.35, 0.0, 2.5)),
                gate=draw.choice((True, False, None)), tested=draw.choice(("", "2026w48.1")),
                winners=rounds[0] // 10, losers=rounds[1] // 10, trimmed_wins=rounds[0],
                open_lists=draw.choice((0, 0, 4)), preference=draw.choice((-0.5, 0.48)),
                capped_balance=rounds[0] - rounds[1], **draw.choice(FAULTS),
            )  # fmt: skip
            yield apply_decision_rules(evidence, rules)


def test_every_reason_of_a_decision_is_translated() -> None:
    found = list(verdicts())
    reasons = {verdict.reason for verdict in found}

    with translation.override("fr"):
        missing = sorted(reason for reason in reasons if translate_stored(reason) in (None, reason))
    with translation.override("en"):
        changed = [reason for reason in reasons if translate_stored(reason) != reason]

    assert {verdict.outcome for verdict in found} == set(DecisionOutcome)
    assert (missing, changed) == ([], [])


@pytest.mark.parametrize(
    ("english", "french"),
    [
        (
            (
                "Better: 294 rounds won, 184 lost, e-value 36,524 : 1; 38 listeners prefer it, 10 do not "
                "(mean preference +0.48, needed +0.35), and not worse since day 14."
            ),
            (
                f"Meilleur : 294 duels gagnés et 184 perdus, e-value 36{SPACE}524 : 1 ; 38 auditeurs la "
                "préfèrent, 10 non (préférence moyenne +0,48, minimum +0,35), et pas moins bon "
                "depuis le jour 14."
            ),
        ),
        (
            (
                "NDCG@20 0.1599 on the latest week, 0.0493 by popularity or chance (+0.0448 to +0.1830 "
                "against popularity). Paired by listener: +0.1106 against popularity (+0.0448 to +0.1830), "
                "+0.0492 against rp3beta (-0.0042 to +0.1095)."
            ),
            (
                "NDCG@20 0,1599 la dernière semaine, 0,0493 par popularité ou hasard (+0,0448 à +0,1830 par "
                "rapport à la popularité). Par paires d’auditeurs : +0,1106 par rapport à la "  # noqa: RUF001
                "popularité (+0,0448 à +0,1830), +0,0492 par rapport à RP3beta (-0,0042 à +0,1095)."
            ),
        ),
        (
            (
                "Advice: Estimated reward of the first songs: 0.312 against 0.298 (-0.010 to +0.038), "
                "support 0.91, effective sample 41% of 320 lists; too few to say anything."
            ),
            (
                "À titre indicatif : gain estimé des premiers morceaux 0,312 contre 0,298 (-0,010 à +0,038), "
                "recouvrement 0,91, échantillon effectif 41 % de 320 listes ; trop peu pour conclure."
            ),
        ),
        (
            (
                "12, 16 clusters give equally good lists drawn for what 60 listeners played next (NDCG@20 "
                "0.1411): 16 is the most stable of them, or the nearest to the default of 23."
            ),
            (
                "12, 16 clusters donnent d’aussi bonnes listes pour ce que 60 auditeurs ont écouté ensuite "  # noqa: RUF001
                "(NDCG@20 0,1411) : 16 est le nombre le plus stable, ou le plus proche de la valeur "
                "par défaut 23."
            ),
        ),
        (
            "The first model. NDCG@20 0.1632 on the latest week, 1.3 times popularity's (30 listeners).",
            (
                "Le premier modèle. NDCG@20 0,1632 la dernière semaine, 1,3 fois celui de la popularité (30 "
                "auditeurs)."
            ),
        ),
        ("Stopped by ada: Too many skips.", "Arrêtée par ada : Too many skips."),
        ("Stopped by ada: too slow: see log", "Arrêtée par ada : too slow: see log"),
        ("2026w40.1 is newer.", "2026w40.1 est plus récente."),
        (
            "2026w40.2: There is no model in x. 2026w40.1: x has changed. 2026w39.1 serves instead.",
            "2026w40.2 : There is no model in x. 2026w40.1: x has changed. 2026w39.1 sert à la place.",
        ),
        (
            "2026w40.1 is Withdrawn: it can't be tested.",
            "2026w40.1 a le rôle « Retiré du service » : elle ne peut pas être testée.",
        ),
        (
            "2026w40.1 did not pass: NDCG@20 0.1632 on the latest week (30 listeners).",
            "2026w40.1 n’a pas réussi : NDCG@20 0,1632 la dernière semaine (30 auditeurs).",  # noqa: RUF001
        ),
    ],
)
def test_a_stored_sentence_is_shown_in_french(english: str, french: str) -> None:
    with translation.override("fr"):
        shown = stored_text(english)
    assert shown.replace("\N{NO-BREAK SPACE}", " ").replace("&#x27;", "'") == french


def test_what_a_person_typed_stays_as_it_is_and_is_marked_as_english() -> None:
    with translation.override("fr"):
        assert stored_text("Listeners <complain>.") == (
            '<span lang="en" translate="no">Listeners &lt;complain&gt;.</span>'
        )
        assert (actor_name("the loop"), actor_name("ada")) == ("automatique", "ada")
    assert actor_name("the loop") == "automatic"


def test_the_summary_of_a_run_is_translated_unless_it_names_reasons() -> None:
    songs = "5 390 songs: 2 new, 1 changed, 526 unchanged, 0 rejected, 1 missing"
    with translation.override("fr"):
        plain = run_summary(f"{songs}, 3 sent more than once; {songs.replace('songs', 'listeners')}")
        reasons = run_summary(f"{songs}, rejected because name too short (2)")
    french = "2 nouveaux, 1 modifiés, 526 inchangés, 0 rejetés, 1 manquants"

    assert plain.replace("\N{NO-BREAK SPACE}", " ") == (
        f"5{SPACE}390 morceaux : {french}, 3 envoyés plusieurs fois; 5{SPACE}390 auditeurs : {french}"
    )
    assert 'lang="en"' in reasons


def test_the_summary_of_a_resumed_run_is_translated() -> None:
    with translation.override("fr"):
        shown = run_summary(
            "3 songs as of 2026-11-30 02:00 UTC: 1 new, 0 changed, 2 unchanged, 0 rejected, 0 missing"
        )

    assert shown.replace("\N{NO-BREAK SPACE}", " ").startswith(
        "3 morceaux lus le 2026-11-30 02:00 UTC : 1 nouveaux"
    )


def test_a_reason_with_hundreds_of_commas_is_shown_as_a_person_typed_it() -> None:
    with translation.override("fr"):
        shown = stored_text(", ".join(300 * ["+0.1 against popularity"]))

    assert shown.startswith('<span lang="en"')


def test_a_long_summary_without_a_translation_is_given_up_at_once() -> None:
    # Every way to split it was tried anew: six segments took a minute, each further one twice as long.
    segments = [f"{n} songs: 2 new, 1 changed, rejected because {n} is too short" for n in range(40)]
    with translation.override("fr"):
        shown = run_summary("; ".join(segments))

    assert 'lang="en"' in shown
