"""Recommend songs to a user, and say why."""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ingestion.management.base import require_migrations
from recommender import listener_profiles
from recommender.models import ServedList
from recommender.services import current_model, serving_options
from recommender.serving import recommendations
from recommender.serving.explanations import explain_scores, serialize_list
from recommender.serving.options import DISCOVERY, LIST_LENGTH, MAX_CANDIDATES

HELP = """Draw a list of recommendations for a user, store it as served, and show it with its reasons.

examples:
  python manage.py recommend 1
  python manage.py recommend 1 -n 40 --discovery 0.8      more that is new
  python manage.py recommend 1 --explain                  affinities, and what each term adds to each score
  python manage.py recommend 1 --seed abc --json
  python manage.py recommend --replay 3f0e...             draw a served list again; exit 1 if it differs
"""
WIDTHS: Final = {"song": 32, "artist": 22, "cluster": 32}
BAR_WIDTH: Final = 40  # characters of an affinity of 100 %
MAX_CLUSTERS: Final = 10  # clusters


def parse_share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text} is no share from 0 (familiar) to 1 (new)")
    return value


def parse_count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_CANDIDATES:
        raise ArgumentTypeError(f"{text} is no number from 1 to {MAX_CANDIDATES}")
    return int(text)


def parse_song_ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ArgumentTypeError(f"{text} are no song ids with commas between them") from None


class Command(BaseCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user_id", nargs="?", type=int, help="The user's id at the source.")
        parser.add_argument(
            "-n", type=parse_count, default=LIST_LENGTH, help=f"How many songs ({LIST_LENGTH})."
        )
        parser.add_argument(
            "--discovery", type=parse_share, default=DISCOVERY, help=f"0 familiar to 1 new ({DISCOVERY})."
        )
        parser.add_argument(
            "--exclude", type=parse_song_ids, default=[], help="Song ids, with commas between."
        )
        parser.add_argument("--seed", help="Fixes the draw.")
        parser.add_argument("--explain", action="store_true", help="Also show what the list rests on.")
        parser.add_argument("--replay", type=UUID, metavar="ID", help="Draw this served list again.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object instead of text.")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        try:
            if options["replay"]:
                self._replay(options["replay"], as_json=options["json"])
            else:
                self._recommend(options)
        except recommendations.UnknownListener as unknown:
            raise CommandError(f"{unknown} `runingest` brings users in; the admin lists them.") from unknown
        except recommendations.UnknownList as unknown:
            raise CommandError(
                f"{unknown} The ids stand in the admin under served lists, and in what the API answers."
            ) from unknown

    def _recommend(self, options: dict[str, Any]) -> None:
        if options["user_id"] is None:
            raise CommandError("Name a user: python manage.py recommend USER_ID")
        degraded = current_model().degraded
        if degraded:
            self.stderr.write(degraded)
        served = recommendations.recommend(
            options["user_id"], n=options["n"], discovery=options["discovery"], exclude=options["exclude"],
            seed=options["seed"], options=serving_options(),
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
        version = facts["model_version"] or "popularity, for want of a model"
        given = f"discovery {served.discovery:g} asked, {facts['discovery']['given']:g} given"
        self.stdout.write(
            f"{len(served.items)} songs for user {served.listener_id} by {version} ({served.arm}), {given}."
        )
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
        self.stdout.write(f"\nDrawn again by: python manage.py recommend --replay {served.pk}")

    def _print_affinities(self, rows: Sequence[dict[str, Any]]) -> None:
        title = "What this user plays, by cluster:" if rows else "This user has played nothing."
        self.stdout.write(f"\n{title}")
        for row in rows[:MAX_CLUSTERS]:
            bar = "█" * max(1, round(BAR_WIDTH * row["affinity"]))
            name = fit_to_width(row["name"], WIDTHS["cluster"])
            self.stdout.write(f"  {name} {100 * row['affinity']:5.1f} %  {row['plays']:4} plays  {bar}")
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
            else "This is NOT the list that was stored."
        )


def format_row(rank: object, song: str, artist: str, cluster: str, chance: str, reason: str) -> str:
    texts = zip((song, artist, cluster), WIDTHS.values(), strict=True)
    columns = "  ".join(fit_to_width(text, width) for text, width in texts)
    return f"{rank!s:>4}  {columns}  {chance:>11}  {reason}"


def format_scores(terms: dict[str, float]) -> list[str]:
    """What adds up to a score, the largest first."""
    if not terms:
        return []
    largest = sorted(terms.items(), key=lambda term: -abs(term[1]))
    parts = ", ".join(f"{name} {value:+.2f}" for name, value in largest)
    return [f"      score {sum(terms.values()):.2f} = {parts}"]


def fit_to_width(text: str, width: int) -> str:
    """Exactly so wide; what is cut off leaves a mark."""
    return text.ljust(width) if len(text) <= width else f"{text[: width - 1]}…"
