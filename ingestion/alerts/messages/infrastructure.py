"""Alert texts about the infrastructure (database, Celery, disks, channels) and the age of the data."""

from typing import Final

from django.utils.translation import gettext_noop as _

from ingestion.alerts.messages.formatting import MessageTemplate

SERVICE_MESSAGES: Final = {
    "database_away": MessageTemplate(
        subject=(_("The database is unavailable"),),
        what=(
            _("MoovitaMix can't read from the database or write to it."),
            _("Reason: {error}"),
        ),
        how_bad=(_("No run can start, and the pages and the API return errors until the database is back."),),
        what_to_do=(
            _(
                "Check that the database server is running, that its disk has free space and that "
"DATABASE_URL is correct."
            ),
            _("To see the current error: python manage.py watchdog"),
        ),
    ),
    "beat_dead": MessageTemplate(
        subject=(_("Celery Beat is not running: no run starts automatically"),),
        what=(
            _("Celery Beat, which schedules the runs, sends no heartbeats."),
            _("Last heartbeat: {last_seen_at}, {age_seconds} ago."),
        ),
        how_bad=(_("No run, training or clean-up starts automatically until Celery Beat runs."),),
        what_to_do=(
            _("Start it: python manage.py work"),
            _("If it stops again, read its log and check the connection to the broker (REDIS_URL)."),
            _("If another program starts the runs, remove Beat from the setting EXPECTED_PARTS."),
        ),
    ),
    "watchdog_dead": MessageTemplate(
        subject=(_("The watchdog is not running: nothing is checked and no alert is sent"),),
        what=(
            _("The watchdog, which checks the service and sends the alerts, sends no heartbeats."),
            _("Last heartbeat: {last_seen_at}, {age_seconds} ago."),
        ),
        how_bad=(_("Problems stay unnoticed, and alerts wait until it runs."),),
        what_to_do=(
            _(
                "Start a process that runs it: python manage.py work, or python manage.py serve with "
"WATCHDOG_IN_WEB=true"
            ),
        ),
    ),
    "worker_gone": MessageTemplate(
        subject=(_("No Celery worker is processing tasks"),),
        what=(
            _("Tasks are sent, but no worker processes them."),
            _("Last heartbeat: {last_seen_at}, {age_seconds} ago."),
        ),
        how_bad=(_("Runs and trainings wait until a worker is back; none is lost."),),
        what_to_do=(
            _("Start a worker: python manage.py work"),
            _("If it stops again, read its log; the system may have killed it for lack of memory."),
        ),
    ),
    "queue_growing": MessageTemplate(
        subject=(
            _("{length} tasks are waiting for a worker"),
            _("Tasks arrive faster than workers process them"),
        ),
        what=(
            _("Tasks arrive faster than the workers process them."),
            _("{length} tasks are waiting; the limit is {limit}."),
        ),
        how_bad=(_("Runs and trainings start late."),),
        what_to_do=(
            _("Check the task results for a task that hangs or keeps failing."),
            _("If there is none, start another worker: python manage.py work --no-beat"),
        ),
    ),
    "data_stale": MessageTemplate(
        subject=(
            _("Stale data: {part1}, {age_hours} old"),
            _("Stale data: {part1}"),
            _("The data is stale"),
        ),
        what=(
            _("The data is older than allowed."),
            _("Data: {part1}."),
            _("Age: {age_hours}; the limit is {limit_hours}."),
            _("Last import: {brought_in_at}."),
            _("Newest row: {newest_at}."),
            _("Cause: {reason}"),
        ),
        how_bad=(_("Recommendations do not reflect anything newer."),),
        what_to_do=(
            _("Check the latest runs: did they fail, or not start?"),
            _("If they succeeded, the source has no new data: contact its operator."),
        ),
    ),
    "disk_nearly_full": MessageTemplate(
        subject=(
            _("Disk nearly full ({part1}): {free_share} free"),
            _("Disk nearly full ({part1})"),
            _("A disk is nearly full"),
        ),
        what=(
            _("A disk that MoovitaMix writes to is nearly full."),
            _("Used for: {part1}."),
            _("Free: {free_share} ({free_bytes}); the limit is {limit_share}."),
            _("Path: {path}"),
        ),
        how_bad=(_("When the disk is full, runs fail and nothing can be saved."),),
        what_to_do=(
            _("Free some space, or move the folder to a larger disk."),
            _("MoovitaMix keeps its folders under VAR_DIR; logs and backups often fill the rest of a disk."),
        ),
    ),
    "delivery_failing": MessageTemplate(
        subject=(_("Alerts can't be delivered by {part1}"), _("Alerts can't be delivered")),
        what=(
            _("A notification channel keeps failing."),
            _("Channel: {part1}."),
            _("Consecutive failures: {failures}, since {failing_since_at}."),
            _("Reason: {error}"),
        ),
        how_bad=(
            _("People who read only this channel receive no alerts."),
            _("Each notification is retried for up to a day."),
        ),
        what_to_do=(
            _("Check the channel's address, password and service, then send a test: python "
"manage.py testalert"),
        ),
    ),
    "watchdog_check_failed": MessageTemplate(
        subject=(_("A watchdog check failed: {part1}"), _("A watchdog check failed")),
        what=(
            _("A watchdog check raised an error, so its result is unknown."),
            _("Check: {part1}."),
            _("Reason: {error}"),
        ),
        how_bad=(_("What it checks is not monitored until it works again; the other checks continue."),),
        what_to_do=(_("Read the full error in the watchdog's log."),),
    ),
    "backup_old": MessageTemplate(
        subject=(_("The newest backup is {age_hours} old"), _("There is no backup")),
        what=(
            _("No backup was made lately."),
            _("Newest backup: {made_at}; the limit is {limit_hours}."),
            _("Path: {path}"),
        ),
        how_bad=(_("What was stored since then would be lost with the disk."),),
        what_to_do=(
            _("Make one now: python manage.py backup"),
            _("If it fails, read its message; if it works, check that a worker runs the daily task."),
        ),
    ),
    "backup_incomplete": MessageTemplate(
        subject=(_("The newest backup lacks models"),),
        what=(
            _("Files of models are damaged or missing, so these models are not in the newest backup."),
            _("Version: {version}."),
            _("Reason: {reason}"),
        ),
        how_bad=(_("After a restore, these versions could not serve. All tables are in the backup."),),
        what_to_do=(
            _("Copy the files of these versions back from an older backup or another machine."),
            _("If none has them, train another model: python manage.py retrain --full"),
            _(
                "If you no longer need a version, click “Delete files” on its page: "
                "backups then no longer miss it."
            ),
        ),
    ),
    "login_locked": MessageTemplate(
        subject=(_("Logins from {address} are locked after {failures} failures"), _("Logins are locked")),
        what=(
            _("Too many logins failed: this address and the user names it tried are locked for 15 minutes."),
            _("Address: {address}."),
            _("Last failure: {last_at}."),
        ),
        how_bad=(_("Somebody may be guessing passwords. Meanwhile nobody can log in from this address."),),
        what_to_do=(
            _("If a colleague mistyped a password, unlock the login: python manage.py axes_reset"),
            _("If not, block the address at your proxy, and check the audit trail for logins."),
        ),
    ),
    "unusual": MessageTemplate(
        subject=(
            _("Unusual run: {part1}, {part2}: {value}, expected {low} to {high}"),
            _("Unusual run: {part1}: {value}, expected {low} to {high}"),
            _("A run was unusual"),
        ),
        what=(
            _("A metric of the last run is outside its expected range."),
            _("Metric: {part1}."),
            _("Data: {part2}."),
            _("Value: {value}, {verdict}."),
            _("Expected: {low} to {high}, median {median}, based on {n} runs."),
        ),
        how_bad=(_("The run itself succeeded, but the data it read may be incomplete or duplicated."),),
        what_to_do=(
            _("Check the run's page and chart: does the value match what happened at the source?"),
            _("If the new level is expected from now on, reset the metric's baseline there."),
        ),
    ),
}  # fmt: skip

# For incident kinds without a template of their own.
FALLBACK_MESSAGE: Final = MessageTemplate(
    subject=(_("Problem detected: {key}"),),
    what=(_("A check found a problem: {key}."), _("Reason: {error}"), _("Cause: {reason}")),
    how_bad=(_("The numbers below show the extent."),),
    what_to_do=(_("Check the incident's page and the log."),),
)
