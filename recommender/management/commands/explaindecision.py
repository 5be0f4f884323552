"""Explain a decision about an experiment, and recompute it."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.management.progress import TimedStages
from recommender.experiments import decisions
from recommender.models import Decision

HELP = """Show the evidence behind a decision about an experiment, and check it.

The command counts the rows up to the decision again and compares them with the stored evidence, compares
the stored thresholds and the code with those of the rules' version, and recomputes the verdict, which must
be the same byte for byte. It compares the verdict with what the experiment and its promotion say, and
names everything that differs. If the rows are older than KEEP_LISTS_DAYS, it compares the sums that were
sealed before the rows were deleted, and says so.

examples:
  python manage.py explaindecision              the last decision that ended an experiment
  python manage.py explaindecision 42 --json

next:
  the admin lists the decisions of every experiment, day by day, under Decisions

exit codes: 0 everything is as it was, 1 rows, rules, code or verdict differ
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "decision", nargs="?", type=int,
            help="number of the decision (default: the last one that ended an experiment)",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    def handle(self, *_: Any, **options: Any) -> None:
        require_migrations()
        decision = _find_decision(options["decision"])
        with TimedStages("replay"):
            replayed = decisions.replay_decision(decision)
        if options["json"]:
            facts = {
                "decision": decision.pk, "at": decision.at.isoformat(), "evidence": decision.evidence,
                "rules": decision.rules, "verdict": decision.verdict, "code": decision.code,
                "decided_by": decision.decided_by,
                "data_sha256": decision.data_sha256,
                "replay": {**asdict(replayed), "stored": replayed.stored.decode(),
                           "found": replayed.found.decode(), "differences": replayed.differences},
            }  # fmt: skip
            self.stdout.write(json.dumps(facts))
        else:
            self.stdout.write(_explain_decision(decision, replayed))
        if replayed.differences:
            raise CommandError(f"This decision differs. {' '.join(replayed.differences)}", returncode=1)


def _find_decision(number: int | None) -> Decision:
    rows = Decision.objects.select_related("experiment", "promotion")
    if number is None:
        last = rows.filter(final=True).first()
        if last is None:
            raise CommandError(
                "No experiment has ended yet. The admin lists the daily decisions under Decisions."
            )
        return last
    found = rows.filter(pk=number).first()
    if found is None:
        raise CommandError(f"There is no decision {number}.")
    return found


def _explain_decision(decision: Decision, replayed: decisions.DecisionReplay) -> str:
    evidence = decision.evidence
    totals = (
        f"Evidence: {evidence['wins']} rounds won and {evidence['losses']} lost by {evidence['listeners']} "
        f"listeners in {evidence['days']} days (data {decision.data_sha256[:12]}, code {decision.code[:12]})."
    )
    lines = [
        f"Decision {decision.pk} of {decision.at:%Y-%m-%d %H:%M} UTC on {decision.experiment}:",
        f"  {decision.outcome}: {decision.verdict['reason']}",
        "",
        totals,
    ]
    for check in evidence["coins"]:
        total = check["inside"] + check["outside"]
        lines.append(f"  {check['name']}: {check['inside']} of {total}, planned {check['share']:.0%}")
    lines += [
        f"  {guardrail['name']}: {guardrail['difference']:+.3f} "
        f"({guardrail['low']:+.3f} to {guardrail['high']:+.3f})"
        for guardrail in evidence["guardrails"]
    ]
    if decision.promotion:
        lines.append(f"It promoted {decision.promotion}.")
    if decision.decided_by and decision.experiment:
        ended = f"{decision.experiment.outcome}. {decision.experiment.reason}"
        lines.append(f"A person ended the experiment, whatever the rules say: {ended}")
    lines.append("")
    lines.append(
        f"Counted again, the {replayed.counted_from} give this evidence, and the evidence gives this "
        "decision, byte for byte."
        if not replayed.differences
        else "Recomputed from this evidence, the decision is the same, byte for byte."
        if replayed.same
        else "Recomputed from this evidence, the decision differs:\n"
        f"  stored     {replayed.stored.decode()}\n"
        f"  recomputed {replayed.found.decode()}"
    )
    if replayed.code_changed and replayed.code_known:
        lines.append("An earlier release decided; its rules are kept.")
    if replayed.counted_from == decisions.SEALED_SUMS:
        lines.append(
            "Lists of this experiment are older than KEEP_LISTS_DAYS: what they counted was sealed before "
            "they were deleted."
        )
    elif replayed.data_changed or replayed.recount:
        lines.append(
            "Rows may be gone because a listener was deleted; otherwise somebody changed rows or evidence. "
            "Not counted again: guardrails, serving failures and whether listening was missing."
        )
    return "\n".join(lines)
