"""Fill served lists, count their engagement twice, and print what the first count took.

Usage: python -m benchmarks.growth.review_run LISTS.
"""

import sys
import time

import django
import orjson

django.setup()

from django.utils import timezone

from benchmarks.memory import peak_memory
from benchmarks.populate.served_lists import fill_served_lists
from recommender.feedback.engagement import update_engagement


def main(lists: int) -> None:
    fill_served_lists(lists)
    before = time.process_time()
    counted = update_engagement(timezone.now())
    cpu = time.process_time() - before
    again = time.process_time()
    left = update_engagement(timezone.now())
    figures = {
        "cpu_seconds": cpu, "cpu_seconds_again": time.process_time() - again, "peak_memory": peak_memory(),
        "counted": counted, "not_final": left,
    }  # fmt: skip
    sys.stdout.buffer.write(orjson.dumps(figures))


if __name__ == "__main__":
    main(int(sys.argv[1]))
