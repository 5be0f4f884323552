"""Import random sources and print one JSON object for each case.

Usage: python -m benchmarks.imports.proof_cases FIRST_SEED CASES STAGING_FOLDER [REVIEW_EVERY]. Empties the
database. REVIEW_EVERY: the incidents of one case in so many are checked, too (default: 1).
"""

import os
import sys
from pathlib import Path

import django
import orjson

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moovitamix.settings")
django.setup()

from benchmarks.imports.random_sources.cases import CaseRunner


def main(first: str, cases: str, staging: str, review_every: str = "1") -> None:
    runner = CaseRunner(Path(staging), int(review_every))
    with runner.serving():
        for seed in range(int(first), int(first) + int(cases)):
            result = runner.run_case(seed)
            facts = {
                "seed": seed, "statuses": [day.status for day in result.days], "problems": result.problems,
                "only_false_alarms": result.has_only_false_alarms, "text": result.describe(),
            }  # fmt: skip
            sys.stdout.buffer.write(orjson.dumps(facts, option=orjson.OPT_APPEND_NEWLINE))
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
