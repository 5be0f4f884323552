"""Alert texts about models, trainings, experiments and drift (settings.ALERT_MESSAGES)."""

from typing import Final

from django.utils.translation import gettext_noop as _

from ingestion.alerts.messages.formatting import MessageTemplate

RECOMMENDER_MESSAGES: Final = {
    "model_stale": MessageTemplate(
        subject=(_("The model is {age_days} old"), _("The model is stale")),
        what=(
            _("No training has produced a new model for too long."),
            _("Serving: {version}, {age_days} old; the limit is {limit_days}."),
        ),
        how_bad=(_("New songs and changes in taste reach the recommendations late."),),
        what_to_do=(
            _("Check the latest trainings: did they fail, or was every new model worse?"),
            _("To train now: python manage.py retrain"),
        ),
    ),
    "model_degraded": MessageTemplate(
        subject=(_("The champion model can't be served"),),
        what=(
            _("The champion can't be loaded, so an older version or a list of popular songs is "
"served instead."),
            _("Reason: {reason}"),
        ),
        how_bad=(_("Listeners still get lists, but worse ones."),),
        what_to_do=(
            _("Check that the folder MODEL_STORAGE exists and is complete on the machine that serves."),
            _("If the model's files are lost: python manage.py retrain --full"),
        ),
    ),
    "model_storage_away": MessageTemplate(
        subject=(_("The models on S3 can't be reached"),),
        what=(
            _("The storage in MODEL_STORAGE does not answer, or refuses."),
            _("Reason: {reason}"),
        ),
        how_bad=(
            _("Lists come from the models that each machine has copied. Trainings fail, and new versions "
"reach no machine."),
        ),
        what_to_do=(
            _("Check the bucket, its credentials and the network: python manage.py check --deploy"),
        ),
    ),
    "training_failed": MessageTemplate(
        subject=(_("The model training failed"),),
        what=(
            _("The last training produced no model."),
            _("Reason: {error}"),
        ),
        how_bad=(_("The current model keeps serving and gets older."),),
        what_to_do=(
            _("Read the full error on the training's page."),
            _("Then train again: python manage.py retrain"),
        ),
    ),
    "engagement_deviates": MessageTemplate(
        subject=(_("Unusual engagement with recommendations: {version}"),
                 _("Unusual engagement with recommendations")),
        what=(
            _("Listeners play far more, or far fewer, of the recommended songs than expected."),
            _("Version: {version}."),
            _("On {days}: {value} songs per list within 24 hours, {verdict}."),
            _("Expected: {low} to {high}, median {median}, based on {n} days."),
        ),
        how_bad=(_("The recommendations may have become worse, or the app may have changed."),),
        what_to_do=(
            _("Compare the days on the model's page; look for a new version or a change in the app."),
            _('To return to the previous version: python manage.py rollback --reason "..."'),
        ),
    ),
    "cohesion_deviates": MessageTemplate(
        subject=(_("The song clusters are less cohesive"),),
        what=(
            _("Songs within the newest model's clusters are less similar than in earlier models."),
            _("Version: {version}."),
            _("Silhouette score: {value}; earlier models average {mean}, and the lower limit is {low}."),
        ),
        how_bad=(_("Recommendations based on clusters become less precise."),),
        what_to_do=(
            _("Check the drift report for features that changed."),
            _("If the songs themselves have changed, train from scratch: python manage.py retrain --full"),
        ),
    ),
    "feed_fault": MessageTemplate(
        subject=(_("Faulty values in the source: {part1}"), _("Faulty values in the source")),
        what=(
            _("An audio feature that models are trained on is suddenly constant, empty or out of range."),
            _("Feature: {part1}."),
            _("Fault: {fault}"),
        ),
        how_bad=(_("No model is trained on these values, because faulty data is not a change in taste."),),
        what_to_do=(
            _("Contact the source's operator. Training resumes automatically once the values are correct."),
        ),
    ),
    "experiment_invalid": MessageTemplate(
        subject=(_("An experiment was stopped as invalid"),),
        what=(
            _("The data of an experiment can't be trusted, so it ended without a decision."),
            _("Experiment: {experiment}."),
            _("Reason: {reason}"),
        ),
        how_bad=(_("The champion did not change, and nothing was decided."),),
        what_to_do=(_("Find the cause on the experiment's page, then start the experiment again."),),
    ),
    "experiment_waits": MessageTemplate(
        subject=(_("An experiment waits for a reliable listening history"),),
        what=(
            _("No decision is possible, because the listening history is late, incomplete or looks "
              "abnormal."),
            _("Experiment: {experiment}."),
            _("Reason: {reason}"),
        ),
        how_bad=(
            _("The champion keeps serving. The new version is neither promoted nor rejected until the "
              "history is complete and normal."),
        ),
        what_to_do=(
            _("Look at the latest import runs, and ask the source's operator if the history arrives late."),
        ),
    ),
    "refreshes_unproven": MessageTemplate(
        subject=(_("The last refreshes did not win their tests"),),
        what=(
            _("{number} refreshes in a row were promoted although they did not win: {versions}."),
            _("Each was not clearly worse, but small losses that no test can show could add up."),
        ),
        how_bad=(_("Nothing is known to be worse. The next refreshes are tested for four weeks each."),),
        what_to_do=(
            _("Compare the versions: open the models page and choose two of them."),
            _("To start anew: python manage.py retrain --full"),
        ),
    ),
    "yardstick_fell": MessageTemplate(
        subject=(_("New versions lost their lead over a simple recommender"),),
        what=(
            _("Each version is compared with RP3beta, a simple recommender that is trained anew each time."),
            _("Mean NDCG@20 of the last four versions minus RP3beta's: {value}."),
            _("The same difference for the four versions from {version} on: {best}."),
        ),
        how_bad=(
            _("Small losses of many refreshes may have added up. No refresh is tested until a full retrain "
              "succeeds or a person decides."),
        ),
        what_to_do=(
            _("Look for what changed since then: songs, features, listeners or the listening history."),
            _("To start anew: python manage.py retrain --full"),
        ),
    ),
    "refreshes_frozen": MessageTemplate(
        subject=(_("Refreshes of the model are frozen"),),
        what=(
            _("No refresh is tested until a full retrain succeeds or a person decides."),
            _("Reason: {reason}"),
        ),
        how_bad=(_("The champion keeps serving, and gets older. Training goes on every week."),),
        what_to_do=(
            _("Find out what makes the refreshes worse, then train anew: python manage.py retrain --full"),
            _("Or start an experiment on a version's page: refreshes are then tested again."),
        ),
    ),
    "challenger_failed": MessageTemplate(
        subject=(_("A challenger was withdrawn from its experiment: {version}"),
                 _("A challenger was withdrawn from its experiment")),
        what=(
            _("It failed, was too slow or performed worse. It does not return automatically."),
            _("Experiment: {experiment}."),
            _("Reason: {reason}"),
        ),
        how_bad=(_("All listeners are served by the champion."),),
        what_to_do=(
            _("Find the cause on the experiment's page. The next training produces another challenger."),
        ),
    ),
    "rolled_back": MessageTemplate(
        subject=(_("The model was rolled back from {from_version} to {to_version}"),
                 _("The model was rolled back")),
        what=(
            _("The champion was withdrawn, and an earlier version serves again."),
            _("Withdrawn: {from_version}. Serving: {to_version}."),
            _("Reason: {reason}"),
        ),
        how_bad=(_("Listeners get the earlier version; the withdrawn one does not return automatically."),),
        what_to_do=(
            _("Check the promotions and the experiment's page to see why the version was withdrawn."),
        ),
    ),
    "drift_found": MessageTemplate(
        subject=(
            _("Drift detected: {part1}"),
            _("Drift detected in the data"),
        ),
        what=(
            _("Songs, listeners or their taste have changed more than chance explains."),
            _("Drift in: {part1}."),
            _("Largest changes: {causes}"),
        ),
        how_bad=(_("The model fits the data less well."),
            _("Drift of the listening or of new songs makes a full retrain due, at most once in 28 days; "
              "drift of the feedback does not."),),
        what_to_do=(_("Open the drift report. To check again: python manage.py checkdrift"),),
    ),
}  # fmt: skip
