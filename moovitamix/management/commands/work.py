"""Run a Celery worker, with Beat, for the tasks of all queues."""

from argparse import ArgumentParser
from typing import Any, Final

from django.conf import settings
from django.core.management.base import CommandError

from ingestion.management.base import GuidedCommand
from moovitamix.management.processes import replace_process, worker_command

MAX_CONCURRENCY: Final = 64

HELP = """Run the background tasks until Ctrl-C or SIGTERM: scheduled imports, trainings, alerts.

Starts a Celery worker and Beat, the scheduler. Run Beat once per installation: further workers get --no-beat.
A signal stops a running import, which the next start continues; other tasks are finished first.

examples:
  python manage.py work
  python manage.py work --no-beat --queues training     a second machine, for trainings alone

next:
  python manage.py watchdog                             prints what is wrong now
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        names = ", ".join(queue.name for queue in settings.CELERY_TASK_QUEUES)
        parser.add_argument("--no-beat", action="store_true", help="without the scheduler")
        parser.add_argument(
            "--queues", metavar="NAMES", help=f"take only tasks of these queues (default: {names})"
        )
        parser.add_argument(
            "--concurrency", type=int, default=settings.CELERY_WORKER_CONCURRENCY,
            help="tasks at the same time (default: 4: an import, a training, and two others)",
        )  # fmt: skip

    def handle(self, *_: Any, **options: Any) -> None:
        if not 1 <= options["concurrency"] <= MAX_CONCURRENCY:
            raise CommandError(f"--concurrency is from 1 to {MAX_CONCURRENCY}.")
        known = {queue.name for queue in settings.CELERY_TASK_QUEUES}
        queues = [name.strip() for name in (options["queues"] or "").split(",") if name.strip()]
        if unknown := sorted(set(queues) - known):
            raise CommandError(
                f"There is no queue {', '.join(unknown)}. Choose from {', '.join(sorted(known))}."
            )
        command = worker_command(
            concurrency=options["concurrency"], queues=queues, with_beat=not options["no_beat"]
        )
        replace_process(command)
