"""Alert texts about the source and ingestion runs: failed, refused, partial, late or not started."""

from typing import Final

from django.utils.translation import gettext_noop as _

from ingestion.alerts.messages.formatting import MessageTemplate

RUN_MESSAGES: Final = {
    "run_failed": MessageTemplate(
        subject=(_("The ingestion run failed"),),
        what=(
            _("The last ingestion run failed."),
            _("Reason: {error}"),
        ),
        how_bad=(
            _("The catalogue is unchanged, but it gets older until a run succeeds."),
            _("The next run is due at {next_due_at}."),
        ),
        what_to_do=(
            _("Read the full error on the run's page."),
            _("If the source could not be reached, check that it is up and that BASE_URL is correct."),
            _("Then start a run: python manage.py runingest"),
        ),
    ),
    "run_refused": MessageTemplate(
        subject=(_("The ingestion run was refused: the source looks like a different catalogue"),),
        what=(
            _("The source's data differs too much from the last import, so nothing was written."),
            _("Reason: {error}"),
        ),
        how_bad=(
            _("The catalogue is unchanged."),
            _("Every run is refused until the source is repaired or someone accepts the new catalogue."),
        ),
        what_to_do=(
            _("Ask the source's operator whether it was reset or replaced."),
            _("If the new catalogue is correct: python manage.py runingest --accept-reset"),
            _("If it is not, wait until the source is repaired; the next run then succeeds without "
"further action."),
        ),
    ),
    "run_abandoned": MessageTemplate(
        subject=(_("The ingestion run stopped before it finished"),),
        what=(
            _("The run's process no longer exists: it was killed, or its machine stopped."),
            _("Last heartbeat: {heartbeat_at}."),
            _("Stage it had reached: {stage}."),
            _("Reason: {error}"),
        ),
        how_bad=(_("The rows it wrote are intact; the next run continues from there."),),
        what_to_do=(
            _("Check whether the machine restarted or ran out of memory."),
            _("Then start a run: python manage.py runingest"),
        ),
    ),
    "run_partial": MessageTemplate(
        subject=(_("The ingestion run was partial: some data was not imported"),),
        what=(
            _("The last run imported only the data that passed its checks."),
            _("Reason: {error}"),
            _("Rejected rows: {rejections}"),
        ),
        how_bad=(
            _(
                "What was not imported keeps its earlier state. Rows that the source no longer has were not "
                "marked as missing."
            ),
        ),
        what_to_do=(
            _("Review the rejections on the run's page."),
            _(
                "If the format of a field changed, ask the source's operator to restore it; runingest "
                "--accept-reset does not help, because it only accepts a replaced catalogue."
            ),
            _("If only this run is partial, the next one may import the rest."),
            _("If every run is partial, contact the source's operator."),
        ),
    ),
    "history_window": MessageTemplate(
        subject=(_("The source keeps only recent listening sessions"),),
        what=(
            _("The source no longer sends its oldest sessions: it seems to keep only recent ones."),
            _("Sessions that expired in the last run: {expired}."),
            _("Its oldest session is now from {oldest_at}."),
        ),
        how_bad=(_("The sessions that expired at the source stay in use here; nothing is lost."),),
        what_to_do=(
            _(
                "Ask the source's operator how long sessions are kept, and set HISTORY_RETENTION to that. "
                "This resolves the incident."
            ),
            _(
                "If the source should keep all sessions, set HISTORY_RETENTION=forever: sessions that it no "
                "longer sends then count as deleted."
            ),
        ),
    ),
    "run_not_started": MessageTemplate(
        subject=(_("The run that was due at {due_at} did not start"), _("A scheduled run did not start")),
        what=(
            _("A run was scheduled, but none has started."),
            _("It was due at {due_at}."),
            _("Cause: {reason}"),
        ),
        how_bad=(
            _("The data gets older until a run succeeds."),
            _("The next run is due at {next_due_at}."),
        ),
        what_to_do=(
            _("Check that Celery Beat and a worker are running: python manage.py work"),
            _("Without Celery, check that start-pipeline is running."),
            _("To run now: python manage.py runingest"),
        ),
    ),
    "schedule_never_due": MessageTemplate(
        subject=(_("A schedule never comes due: {entry}"), _("A schedule never comes due")),
        what=(
            _("A periodic task is enabled, but its schedule never comes due."),
            _("Task: {entry}."),
            _("Cause: {reason}"),
        ),
        how_bad=(_("The task does not run until its schedule is corrected."),),
        what_to_do=(
            _("Edit the task's schedule in the admin, under Periodic tasks."),
            _("If its entry is missing, restart start-pipeline or Celery Beat, which creates it."),
            _("To import the data now: python manage.py runingest"),
        ),
    ),
    "run_not_finished": MessageTemplate(
        subject=(_("The ingestion run is stuck or too slow"),),
        what=(
            _("A run has taken longer than allowed or has stopped sending heartbeats."),
            _("It has run for {running_seconds}; the limit is {limit_minutes}."),
            _("Last heartbeat: {heartbeat_at}."),
            _("Current stage: {stage}."),
            _("Cause: {reason}"),
        ),
        how_bad=(_("No other run can start until it ends, so the data gets older."),),
        what_to_do=(
            _("Open the run's page. If the row counts still grow, the source is slow: wait."),
            _("If they do not, stop the worker's process; the next run continues from there."),
        ),
    ),
}  # fmt: skip
