"""What is told where a part of the service fails, or its data is not what it should be."""

from typing import Final

from django.utils.translation import gettext_noop as _

from ingestion.alerts.messages.formatting import MessageTemplate

SERVICE_MESSAGES: Final = {
    "database_away": MessageTemplate(
        subject=(_("The database can't be used"),),
        what=(
            _("Nothing can be read from the database or written to it."),
            _("Reason: {error}"),
        ),
        how_bad=(_("No run starts, and the pages and the API answer nothing until it is back."),),
        what_to_do=(
            _(
                "Look whether the database server runs and its disk has room, and whether DATABASE_URL is "
                "right."
            ),
            _("What it says: python manage.py watchdog"),
        ),
    ),
    "beat_dead": MessageTemplate(
        subject=(_("Celery Beat has stopped: no run starts by itself"),),
        what=(
            _("Celery Beat, which starts the runs, gives no sign of life."),
            _("Last sign of life: {last_seen_at}, {age_seconds} ago."),
        ),
        how_bad=(_("No run, training or clean-up starts by itself until it is back."),),
        what_to_do=(
            _("Start it again: celery -A moovitamix beat, or celery -A moovitamix worker -B"),
            _("If it does not stay up, read its log and check the connection to the broker (REDIS_URL)."),
        ),
    ),
    "worker_gone": MessageTemplate(
        subject=(_("No Celery worker takes tasks"),),
        what=(
            _("Tasks are sent, and no worker takes them."),
            _("Last sign of life: {last_seen_at}, {age_seconds} ago."),
        ),
        how_bad=(_("Runs and trainings wait until a worker is back; none is lost."),),
        what_to_do=(
            _("Start a worker: celery -A moovitamix worker"),
            _("If it does not stay up, read its log; a machine without memory kills it first."),
        ),
    ),
    "queue_growing": MessageTemplate(
        subject=(_("{length} tasks are waiting for a worker"), _("Tasks pile up in front of the workers")),
        what=(
            _("More tasks come than the workers finish."),
            _("{length} are waiting; the limit is {limit}."),
        ),
        how_bad=(_("Runs and trainings start late."),),
        what_to_do=(
            _("Look at the task results for a task that hangs or fails again and again."),
            _("If all are well, start one more worker: celery -A moovitamix worker"),
        ),
    ),
    "data_stale": MessageTemplate(
        subject=(
            _("Old data: {part1} are {age_hours} old"),
            _("Old data: {part1}"),
            _("The data is old"),
        ),
        what=(
            _("No run has brought in new data for too long."),
            _("Concerned: {part1}."),
            _("Age: {age_hours}; {limit_hours} are allowed."),
            _("Last read at {brought_in_at}."),
            _("Newest row: {newest_at}."),
            _("Why: {reason}"),
        ),
        how_bad=(_("Recommendations are made from what was known then."),),
        what_to_do=(
            _("Look at the last runs: did they fail, or not start?"),
            _("If they succeeded, the source itself has nothing new: tell who runs it."),
        ),
    ),
    "disk_nearly_full": MessageTemplate(
        subject=(
            _("Disk nearly full ({part1}): {free_share} free"),
            _("Disk nearly full ({part1})"),
            _("A disk is nearly full"),
        ),
        what=(
            _("A disk that the service writes to is nearly full."),
            _("Concerned: {part1}."),
            _("Free: {free_share} ({free_bytes}); the limit is {limit_share}."),
            _("Path: {path}"),
        ),
        how_bad=(_("When it is full, runs fail and nothing can be saved."),),
        what_to_do=(
            _("Make room, or move the folder to a larger disk."),
            _("The service's own folders are under VAR_DIR; the rest of a disk is mostly logs and backups."),
        ),
    ),
    "delivery_failing": MessageTemplate(
        subject=(_("Alerts do not get through by {part1}"), _("Alerts do not get through")),
        what=(
            _("Messages could not be sent by one of the channels."),
            _("Channel: {part1}."),
            _("Failed attempts in a row: {failures}, since {failing_since_at}."),
            _("Reason: {error}"),
        ),
        how_bad=(_("Whoever reads only this channel is not told. Messages wait for up to a day."),),
        what_to_do=(
            _("Check the channel's address, password and service, then try: python manage.py testalert"),
        ),
    ),
    "watchdog_check_failed": MessageTemplate(
        subject=(_("A check of the watchdog fails: {part1}"), _("A check of the watchdog fails")),
        what=(
            _("One of the checks that look after the service could not be made."),
            _("Check: {part1}."),
            _("Reason: {error}"),
        ),
        how_bad=(_("What it looks after is not watched until it works again; the other checks go on."),),
        what_to_do=(_("Read the log of the watchdog for the whole error."),),
    ),
    "unusual": MessageTemplate(
        subject=(
            _("Unusual run: {part1}, {part2}: {value}, usually {low} to {high}"),
            _("Unusual run: {part1}: {value}, usually {low} to {high}"),
            _("A run was unusual"),
        ),
        what=(
            _("A number of the last run is far from what it usually is."),
            _("Measured: {part1}."),
            _("Of: {part2}."),
            _("It was {value}: {verdict}."),
            _("Usual is {low} to {high}, around {median}, from {n} runs."),
        ),
        how_bad=(_("The run itself ended well; what it read may be incomplete or doubled."),),
        what_to_do=(
            _("Look at the run's page and its chart: does the number fit what happened at the source?"),
            _("If it will stay like this, say “this is the new normal” there."),
        ),
    ),
}  # fmt: skip

# For a kind that has no wording of its own: usable, if not pretty.
FALLBACK_MESSAGE: Final = MessageTemplate(
    subject=(_("Something is wrong: {key}"),),
    what=(_("A check found something wrong: {key}."), _("Reason: {error}"), _("Why: {reason}")),
    how_bad=(_("How bad it is shows in the numbers below."),),
    what_to_do=(_("Look at the incident's page and the log."),),
)
