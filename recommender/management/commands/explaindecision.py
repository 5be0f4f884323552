"""Tell a decision's story, and make it again."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion.management.base import require_migrations
from recommender.experiments import decisions
from recommender.models import Decision


class Command(BaseCommand):
    help = (
        "Tell what a decision about a test rested on, and make it again from that: it comes out the same, "
        "byte for byte (exit 0), or the command says what differs (exit 1). Without a number: the last "
        "decision that ended a test. Examples: python manage.py explaindecision; "
        "python manage.py explaindecision 42 --json"
    )
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("decision", nargs="?", type=int, help="Its number, as the admin shows it.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object instead of text.")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        decision = _find_decision(options["decision"])
        replayed = decisions.replay_decision(decision)
        if options["json"]:
            facts = {
                "decision": decision.pk, "at": decision.at.isoformat(), "evidence": decision.evidence,
                "rules": decision.rules, "verdict": decision.verdict, "code": decision.code,
                "data_sha256": decision.data_sha256,
                "replay": {**asdict(replayed), "stored": replayed.stored.decode(),
                           "found": replayed.found.decode()},
            }  # fmt: skip
            self.stdout.write(json.dumps(facts))
        else:
            self.stdout.write(_explain_decision(decision, replayed))
        if not replayed.same:
            raise CommandError("It comes out otherwise now.", returncode=1)


def _find_decision(number: int | None) -> Decision:
    rows = Decision.objects.select_related("experiment", "promotion")
    if number is None:
        last = rows.filter(final=True).first()
        if last is None:
            raise CommandError("No test has ended yet. Every look at one is in the admin, under Decisions.")
        return last
    found = rows.filter(pk=number).first()
    if found is None:
        raise CommandError(f"There is no decision {number}.")
    return found


def _explain_decision(decision: Decision, replayed: decisions.DecisionReplay) -> str:
    evidence = decision.evidence
    rested = (
        f"It rested on {evidence['wins']} rounds won and {evidence['losses']} lost by "
        f"{evidence['listeners']} listeners in {evidence['days']} days (data {decision.data_sha256[:12]}, "
        f"code {decision.code[:12]})."
    )
    lines = [
        f"Decision {decision.pk} of {decision.at:%Y-%m-%d %H:%M} UTC on {decision.experiment}:",
        f"  {decision.outcome}: {decision.verdict['reason']}",
        "",
        rested,
    ]
    for coin in evidence["coins"]:
        of = coin["inside"] + coin["outside"]
        lines.append(f"  {coin['name']}: {coin['inside']} of {of}, planned {coin['share']:.0%}")
    lines += [
        f"  {rail['name']}: {rail['difference']:+.3f} ({rail['low']:+.3f} to {rail['high']:+.3f})"
        for rail in evidence["guardrails"]
    ]
    if decision.promotion:
        lines.append(f"It made {decision.promotion}.")
    lines.append("")
    lines.append(
        "Made again from this it comes out the same, byte for byte."
        if replayed.same
        else f"Made again from this it comes out otherwise:\n  stored {replayed.stored.decode()}\n"
        f"  found  {replayed.found.decode()}"
    )
    if replayed.code_changed:
        lines.append("The code that decides has changed since.")
    if replayed.data_changed:
        lines.append(
            "The lists that it counted are not all there any more, as when a listener was deleted: they "
            "can't be counted again. What they came to stands above."
        )
    return "\n".join(lines)
