"""What is told where a run went wrong, or none came."""

from typing import Final

from django.utils.translation import gettext_noop as _

from ingestion.alerts.messages.formatting import MessageTemplate

RUN_MESSAGES: Final = {
    "run_failed": MessageTemplate(
        subject=(_("The ingestion run failed"),),
        what=(
            _("The last run of the ingestion failed."),
            _("Reason: {error}"),
        ),
        how_bad=(
            _("The catalogue is as it was before the run; it gets older until a run succeeds."),
            _("The next run is due at {next_due_at}."),
        ),
        what_to_do=(
            _("Look at the run's page for the reason."),
            _("Where the source was not reachable, check it and BASE_URL."),
            _("Then start a run with: python manage.py runingest"),
        ),
    ),
    "run_refused": MessageTemplate(
        subject=(_("The ingestion run was refused: the source looks like another catalogue"),),
        what=(
            _("The source does not look like the one that was read before, so nothing was written."),
            _("Reason: {error}"),
        ),
        how_bad=(_("The catalogue is as it was. Every further run is refused until a person decides."),),
        what_to_do=(
            _("Ask who runs the source whether it was reset or replaced."),
            _("If the new catalogue is right: python manage.py runingest --accept-reset"),
            _("If it is not, wait until the source is repaired; the next run goes through by itself."),
        ),
    ),
    "run_abandoned": MessageTemplate(
        subject=(_("The ingestion run died half-way"),),
        what=(
            _("The process of the run is gone: it was killed, or its machine stopped."),
            _("Last sign of life: {heartbeat_at}."),
            _("It was at this stage: {stage}."),
            _("Reason: {error}"),
        ),
        how_bad=(_("What it had written is whole; the next run goes on from there."),),
        what_to_do=(
            _("Look whether the machine restarted or ran out of memory."),
            _("Then start a run with: python manage.py runingest"),
        ),
    ),
    "run_partial": MessageTemplate(
        subject=(_("The ingestion run is partial"),),
        what=(
            _("The last run took in only what was sure."),
            _("Reason: {error}"),
        ),
        how_bad=(_("Part of the data is older than the rest, and nothing was marked as missing."),),
        what_to_do=(
            _("Look at the refused rows on the run's page."),
            _("If one run alone is partial, the next one may bring the rest; if they all are, tell who runs "
              "the source."),
        ),
    ),
    "run_not_started": MessageTemplate(
        subject=(_("The run that was due at {due_at} did not start"), _("A run that was due did not start")),
        what=(
            _("A run was due, and none has started."),
            _("It was due at {due_at}."),
            _("Why: {reason}"),
        ),
        how_bad=(
            _("The data gets older until a run succeeds."),
            _("The next run is due at {next_due_at}."),
        ),
        what_to_do=(
            _("Check that Celery Beat and a worker are running: celery -A moovitamix worker -B"),
            _("Without Celery, check that start-pipeline is running."),
            _("To catch up now: python manage.py runingest"),
        ),
    ),
    "run_not_finished": MessageTemplate(
        subject=(_("The ingestion run does not come to an end"),),
        what=(
            _("A run has been at work for longer than runs may take, or gives no sign of life."),
            _("It has run for {running_seconds}; {limit_minutes} are allowed."),
            _("Last sign of life: {heartbeat_at}."),
            _("It is at this stage: {stage}."),
            _("Why: {reason}"),
        ),
        how_bad=(_("No other run can start meanwhile, so the data gets older."),),
        what_to_do=(
            _("Look at the run's page: where the rows still move, the source is slow, and waiting helps."),
            _("Where nothing moves, stop the worker's process; the next run goes on from there."),
        ),
    ),
}  # fmt: skip
