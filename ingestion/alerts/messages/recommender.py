"""What is told of models, tests between them, and the listening that they are made from."""

from typing import Final

from django.utils.translation import gettext_noop as _

from ingestion.alerts.messages.formatting import MessageTemplate

RECOMMENDER_MESSAGES: Final = {
    "model_stale": MessageTemplate(
        subject=(_("The model is {age_days} old"), _("The model is old")),
        what=(
            _("No training has brought a new model for too long."),
            _("Serving: {version}, {age_days} old; {limit_days} are allowed."),
        ),
        how_bad=(_("New songs and new taste are recommended late."),),
        what_to_do=(
            _("Look at the last trainings: did they fail, or was every new model worse?"),
            _("To train now: python manage.py retrain"),
        ),
    ),
    "model_degraded": MessageTemplate(
        subject=(_("Recommendations do not come from the best model"),),
        what=(
            _("The best model can't be used, so another one, or none, answers."),
            _("Reason: {reason}"),
        ),
        how_bad=(_("Listeners get lists, but worse ones."),),
        what_to_do=(
            _("Check that the folder MODEL_STORAGE is there and whole on the machine that serves."),
            _("If the file is lost: python manage.py retrain --full"),
        ),
    ),
    "training_failed": MessageTemplate(
        subject=(_("The training of the model failed"),),
        what=(
            _("The last training did not bring a model."),
            _("Reason: {error}"),
        ),
        how_bad=(_("The model that serves stays, and gets older."),),
        what_to_do=(
            _("Look at the training's page for the reason."),
            _("Then train again: python manage.py retrain"),
        ),
    ),
    "engagement_deviates": MessageTemplate(
        subject=(_("Listeners take up recommendations unusually: {version}"),
                 _("Listeners take up recommendations unusually")),
        what=(
            _("Of each list, listeners hear far more, or far fewer, songs than they usually do."),
            _("Version: {version}."),
            _("On {days} it was {value} songs a list within 24 hours: {verdict}."),
            _("Usual is {low} to {high}, around {median}, from {n} days."),
        ),
        how_bad=(_("The recommendations may be worse, or something in the app has changed."),),
        what_to_do=(
            _("Compare the days on the model's page; look for a new version, or a change of the app."),
            _("To go back to the version before: python manage.py rollback"),
        ),
    ),
    "cohesion_deviates": MessageTemplate(
        subject=(_("The groups of songs hold together less well"),),
        what=(
            _("The newest model's groups are less alike inside than those of the models before."),
            _("Version: {version}."),
            _("It was {value}; usual is {mean}, and {low} is the least."),
        ),
        how_bad=(_("Recommendations by groups become less precise."),),
        what_to_do=(
            _("Look at the drift report for features that changed."),
            _("If the songs themselves have changed, train from scratch: python manage.py retrain --full"),
        ),
    ),
    "feed_fault": MessageTemplate(
        subject=(_("Broken values in the source: {part1}"), _("Broken values in the source")),
        what=(
            _("Values that models are made from are suddenly constant, empty or out of range."),
            _("Concerned: {part1}."),
            _("What: {fault}"),
        ),
        how_bad=(_("No model is trained from it: a broken feed is no change of taste."),),
        what_to_do=(_("Tell who runs the source. Training goes on by itself when the values are right."),),
    ),
    "experiment_invalid": MessageTemplate(
        subject=(_("A test between two models had to be stopped"),),
        what=(
            _("The numbers of a test between two models can't be trusted: it was ended without a verdict."),
            _("Test: {experiment}."),
            _("Reason: {reason}"),
        ),
        how_bad=(_("Listeners keep the model that served before; nothing was decided."),),
        what_to_do=(_("Look at the test's page for what was wrong, then start it again."),),
    ),
    "challenger_failed": MessageTemplate(
        subject=(_("A new model was taken out of its test: {version}"),
                 _("A new model was taken out of its test")),
        what=(
            _("It broke, was slow or did harm: it is withdrawn, and does not come back by itself."),
            _("Test: {experiment}."),
            _("Reason: {reason}"),
        ),
        how_bad=(_("Listeners keep the model that served before."),),
        what_to_do=(_("Look at the test's page for what went wrong. The next training makes another one."),),
    ),
    "rolled_back": MessageTemplate(
        subject=(_("The model was taken back: {from_version} gave way to {to_version}"),
                 _("The model was taken back")),
        what=(
            _("The model that served was withdrawn, and an earlier one serves again."),
            _("Withdrawn: {from_version}. Serving: {to_version}."),
            _("Reason: {reason}"),
        ),
        how_bad=(_("Listeners are served well again; the withdrawn model does not come back by itself."),),
        what_to_do=(_("Look at the ledger and the test's page for what the withdrawn model did wrong."),),
    ),
    "drift_found": MessageTemplate(
        subject=(
            _("The model no longer fits: {part1} moved"),
            _("Listening has drifted away from what the model knows"),
        ),
        what=(
            _("Songs, listeners or their taste have changed more than chance explains."),
            _("Where: {part1}."),
            _("What moved: {causes}"),
        ),
        how_bad=(_("The model fits less well; it is trained from scratch where that is due."),),
        what_to_do=(_("Read the drift report: python manage.py checkdrift"),),
    ),
}  # fmt: skip
