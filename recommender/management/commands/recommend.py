"""Recommend songs to a user and explain them."""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from django.core.management.base import CommandError
from django.utils import timezone

from ingestion.api.query_params import number_type
from ingestion.management.base import GuidedCommand, require_migrations
from recommender import listener_profiles
from recommender.management.output import POPULARITY
from recommender.models import ServedList
from recommender.services import current_model, serving_options
from recommender.serving import recommendations
from recommender.serving.list_limits import DISCOVERY, LIST_LENGTH, MAX_CANDIDATES, Mode
from recommender.serving.reasons.explanations import explain_scores, serialize_list
from recommender.serving.reasons.reasons import share_text

HELP = """Draw a list of recommendations for a user, and print it with its reasons.

The list is a preview: nothing is stored, and the user takes part in no experiment. With --serve it is stored
as a served list, as if an app had asked for it.

examples:
  python manage.py recommend 1
  python manage.py recommend 1 -n 40 --discovery 0.8      more unfamiliar songs
  python manage.py recommend 1 --explain                  with affinities and the terms of each score
  python manage.py recommend 1 --seed abc --json
  python manage.py recommend 1 --serve          stores the list, which may belong to an experiment
  python manage.py recommend --replay 3f0e...             draws a served list again

next:
  GET /api/v1/users/1/recommendations/ answers the same to an app (API key: python manage.py apikey)

exit codes: 0, or 1 if a replayed list differs from the stored one
"""
WIDTHS: Final = {"song": 32, "artist": 22, "cluster": 32}
BAR_WIDTH: Final = 40  # characters of an affinity of 100 %
MAX_CLUSTERS: Final = 10


def parse_share(text: str) -> float:
    try:
        return float(number_type(0, 1).parse(text))
    except ValueError:
        raise ArgumentTypeError(f"{text} is not a number from 0 (familiar) to 1 (new)") from None


def parse_count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_CANDIDATES:
        raise ArgumentTypeError(f"{text} is not a whole number from 1 to {MAX_CANDIDATES}")
    return int(text)


def parse_song_ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ArgumentTypeError(f"{text} is not a list of song ids, such as 1,2,3") from None


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user_id", nargs="?", type=int, help="the user's id in the source")
        parser.add_argument(
            "-n", type=parse_count, default=LIST_LENGTH, help=f"number of songs (default: {LIST_LENGTH})"
        )
        parser.add_argument(
            "--discovery", type=parse_share, default=DISCOVERY,
            help=f"from 0 (familiar songs) to 1 (new songs) (default: {DISCOVERY})",
        )  # fmt: skip
        parser.add_argument(
            "--mode", choices=[mode.value for mode in Mode], default=Mode.MIX.value,
            help="discover (never heard), mix (default) or favourites (songs that the user plays)",
        )  # fmt: skip
        parser.add_argument(
            "--repeats", type=parse_share, default=0.0, help="share of favourites in a mix (default: 0)"
        )
        parser.add_argument(
            "--exclude", type=parse_song_ids, default=[], metavar="IDS", help="song ids, such as 1,2,3"
        )
        parser.add_argument("--seed", help="any text: fixes the random numbers of the draw")
        parser.add_argument(
            "--explain", action="store_true", help="also print affinities and the terms of each score"
        )
        parser.add_argument(
            "--serve", action="store_true", help="store the list and count what the user plays of it"
        )
        parser.add_argument("--replay", type=UUID, metavar="ID", help="draw this served list again")
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        try:
            if options["replay"]:
                self._replay(options["replay"], as_json=options["json"])
            else:
                self._recommend(options)
        except recommendations.UnknownListener as unknown:
            raise CommandError(f"{unknown} `runingest` imports users; the admin lists them.") from unknown
        except recommendations.UnknownList as unknown:
            raise CommandError(
                f"{unknown} The admin lists the ids under Served lists; the API returns them too."
            ) from unknown

    def _recommend(self, options: dict[str, Any]) -> None:
        if options["user_id"] is None:
            raise CommandError("Name a user: python manage.py recommend USER_ID")
        degraded = current_model().degraded
        if degraded:
            self.stderr.write(degraded)
        served = recommendations.recommend(
            options["user_id"], n=options["n"], discovery=options["discovery"], exclude=options["exclude"],
            seed=options["seed"], options=serving_options(), asked_by="command recommend",
            store=options["serve"],
            mode=Mode(options["mode"]), repeats=options["repeats"],
        )  # fmt: skip
        facts = serialize_list(served)
        if options["explain"]:
            facts |= self._explanation(served)
        if options["json"]:
            self.stdout.write(json.dumps(facts))
        else:
            self._print_list(served, facts)

    def _explanation(self, served: ServedList) -> dict[str, Any]:
        rows = recommendations.listener_affinities(served.listener_id, options=serving_options())
        known = listener_profiles.read_profiles([served.listener_id], timezone.now())[served.listener_id]
        model = current_model().model
        songs = [item["song"] for item in served.items]
        return {
            "affinities": [asdict(row) for row in rows],
            "terms": explain_scores(known, model, songs) if model else {},
        }

    def _print_list(self, served: ServedList, facts: dict[str, Any]) -> None:
        version = facts["model_version"] or POPULARITY
        given = f"discovery {served.discovery:g} asked, {facts['discovery']['given']:g} given"
        self.stdout.write(
            f"{len(served.items)} songs for user {served.listener_id} by {version} ({served.arm}), {given}."
        )
        for limit in facts["relaxed"]:
            self.stdout.write(limit["message"])
        if facts["discovery"]["reason"]:
            self.stdout.write(facts["discovery"]["reason"])
        if "affinities" in facts:
            self._print_affinities(facts["affinities"])
        self.stdout.write("")
        self.stdout.write(format_row("", "song", "artist", "cluster", "probability", "reason"))
        for item in facts["items"]:
            cluster = item["cluster"]["name"] if item["cluster"] else "-"
            song, chance = item["song"], f"{item['propensity']:.3f}"
            self.stdout.write(
                format_row(item["rank"], song["name"], song["artist"], cluster, chance, item["reason"])
            )
            for line in format_scores(facts.get("terms", {}).get(song["id"], {})):
                self.stdout.write(line)
        self.stdout.write(
            f"\nDraw it again: python manage.py recommend --replay {served.pk}"
            if served.is_stored
            else "\nA preview: nothing was stored. To serve a list: add --serve"
        )

    def _print_affinities(self, rows: Sequence[dict[str, Any]]) -> None:
        title = "Affinities (share of this user's listening by cluster):" if rows else "No affinities yet."
        self.stdout.write(f"\n{title}")
        for row in rows[:MAX_CLUSTERS]:
            bar = "█" * max(1, round(BAR_WIDTH * row["affinity"]))
            name = fit_to_width(row["name"], WIDTHS["cluster"])
            self.stdout.write(f"  {name} {share_text(row['affinity']):>5}  {row['plays']:4} plays  {bar}")
        if len(rows) > MAX_CLUSTERS:
            self.stdout.write(f"  and {len(rows) - MAX_CLUSTERS} more")

    def _replay(self, list_id: UUID, *, as_json: bool) -> None:
        replayed = recommendations.replay_list(list_id)
        if as_json:
            self.stdout.write(
                json.dumps({
                    "recommendation_id": str(list_id), "same": replayed.same,
                    "stored": [asdict(pick) for pick in replayed.stored],
                    "drawn": [asdict(pick) for pick in replayed.drawn],
                })
            )  # fmt: skip
        else:
            self._print_replay(replayed)
        if not replayed.same:
            sys.exit(1)

    def _print_replay(self, replayed: recommendations.ListReplay) -> None:
        for rank, pick in enumerate(replayed.drawn, 1):
            stored = replayed.stored[rank - 1] if rank <= len(replayed.stored) else None
            differs = "" if pick == stored else f"   stored: {stored}"
            self.stdout.write(f"{rank:4}  song {pick.song:<12} {pick.propensity:.17g}{differs}")
        self.stdout.write(
            f"The same {len(replayed.drawn)} songs with the same probabilities, to the last bit."
            if replayed.same
            else "This list differs from the stored one."
        )


def format_row(rank: object, song: str, artist: str, cluster: str, chance: str, reason: str) -> str:
    texts = zip((song, artist, cluster), WIDTHS.values(), strict=True)
    columns = "  ".join(fit_to_width(text, width) for text, width in texts)
    return f"{rank!s:>4}  {columns}  {chance:>11}  {reason}"


def format_scores(terms: dict[str, float]) -> list[str]:
    if not terms:
        return []
    largest = sorted(terms.items(), key=lambda term: -abs(term[1]))
    parts = ", ".join(f"{name} {value:+.2f}" for name, value in largest)
    return [f"      score {sum(terms.values()):.2f} = {parts}"]


def fit_to_width(text: str, width: int) -> str:
    """The text, padded or cut to exactly `width` characters; a cut text ends with an ellipsis."""
    return text.ljust(width) if len(text) <= width else f"{text[: width - 1]}…"
