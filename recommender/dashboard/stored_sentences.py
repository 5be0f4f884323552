"""English sentences of experiments, trainings, refusals and the serving model in the reader's language."""

from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from ingestion.stored_sentences import SentencePatterns
from recommender.experiments.eligibility import AUTOMATIC_ACTOR

# Reasons of decisions, as all versions of the rules write them, and why experiments ended.
DECISIONS: Final = (
    gettext_noop("Worse on days {first} to {last}: {score_text}, z = {z}, below {lowest}."),
    gettext_noop("Not worse on days {first} to {last}: {score_text}, z = {z}."),
    gettext_noop("Worse: {score_text}, z = {z}, below {lowest}."),
    gettext_noop("Not worse: {score_text}, z = {z}."),
    gettext_noop("Worse: {score_text}."),
    gettext_noop("Better: {score_text}, and not worse since day {day}."),
    gettext_noop("Better: {score_text}, and not worse in the last {days} days."),
    gettext_noop("Day {day} of {days}; the lists of days {first} to {last} count: {score_text}."),
    gettext_noop("Day {day} of {days}, for novelty wears off: {score_text}."),
    gettext_noop("Day {day} of {days}: {score_text}."),
    gettext_noop(
        "{lists} lists of days {first} to {last} wait for their 48 hours of listening: {score_text}."
    ),
    gettext_noop("Too few to tell, until day {day}: {score_text}."),
    gettext_noop("Too few to tell ({score_text}); the offline gate is against it."),
    gettext_noop("Too few to tell ({score_text}); the offline gate is for it."),
    gettext_noop("Not decided on day {day} of {days}: {score_text}."),
    gettext_noop("Not decided in {days} days: {score_text}. It is dropped."),
    gettext_noop("Two arms of the same model differ: {score_text}. Look for a fault in the serving."),
    gettext_noop("Two arms of the same model do not differ: {score_text}."),
    gettext_noop("Two arms of the same model: {score_text}."),
    gettext_noop("The champion {tested_name} is worse than what served 28 days ago: {score_text}."),
    gettext_noop("The champion is worse than what served 28 days ago: {score_text}."),
    gettext_noop("The champion {tested_name}: {score_text}."),
    gettext_noop("The champion: {score_text}."),
    gettext_noop(
        "{check_text}: {inside} of {total} where {share}% was planned. The numbers can't be trusted."
    ),
    gettext_noop("{lists} lists came from an arm whose share is 0."),
    gettext_noop("{share}% of the listeners were seen in both arms."),
    gettext_noop("{measure_text} is lower with the challenger: {difference} a listener ({low} to {high})."),
    gettext_noop("It waits for the listening history: {feed_text}"),
    gettext_noop("{wins} rounds won, {losses} lost by {listeners} listeners"),
    gettext_noop("{wins} rounds won, {losses} lost against the anchor, e-value {e_ratio}"),
    gettext_noop("{wins} rounds won, {losses} lost against the anchor, odds {e_ratio}"),
    gettext_noop("{wins} rounds won, {losses} lost against the anchor, odds {e_ratio}."),
    gettext_noop(
        "{wins} rounds won, {losses} lost, e-value {e_ratio}; {winners} listeners prefer it, "
        "{losers} do not (mean preference {mean}, needed {least})"
    ),
    gettext_noop(
        "{wins} rounds won, {losses} lost, e-value {e_ratio}; {winners} listeners prefer it, {losers} do not"
    ),
    gettext_noop(
        "{wins} rounds won, {losses} lost, odds {e_ratio}; {winners} listeners prefer it, {losers} do not"
    ),
    gettext_noop("{wins} rounds won, {losses} lost, odds {e_ratio}"),
    gettext_noop("{wins} to {losses}, e-value {e_ratio}"),
    gettext_noop("{wins} to {losses}, odds {e_ratio}"),
    gettext_noop("no import has succeeded yet."),
    gettext_noop("no import has succeeded since {since_date} UTC."),
    gettext_noop(
        "{lists} lists are older than 72 hours and their listening is not imported; its newest "
        "session is of {newest_date} UTC."
    ),
    gettext_noop("{lists} lists are older than 72 hours and their listening is not imported; it is empty."),
    gettext_noop(
        "only {share}% of the lists of the last seven days have any decisive round, {expected}% in "
        "the four weeks before."
    ),
    gettext_noop(
        "{version_name} made no list for {failures} of {listeners} listeners in a trial, the "
        "champion did; at most {share}% may fail."
    ),
    gettext_noop(
        "{failures} of {requests} requests to {version_name} broke or came back empty; at most {share}% may."
    ),
    gettext_noop("{version_name} answers more than {times} times slower than the champion."),
    gettext_noop("{version_name} is newer."),
    gettext_noop("It was made to follow {version_name}."),
    gettext_noop("It made room for the test of {version_name}."),
    gettext_noop("Its 28 days are over."),
    gettext_noop("The champion is {version_name} by now."),
    gettext_noop("The anchor is champion."),
    gettext_noop("{version_name} can't serve any more."),
    gettext_noop("Refreshes are frozen: {frozen_text}"),
    gettext_noop("new versions lost their lead over RP3beta on {day_date}."),
    gettext_noop(
        "the champion lost to the one of 28 days before, and was replaced by it, on {day_date} and "
        "{second_date}."
    ),
    gettext_noop("Stopped by {user}: {reason_typed}"),
    gettext_noop("Decided by {user}: {reason_typed}"),
)
# Results of the offline gates.
GATES: Final = (
    gettext_noop("All files are unchanged since the training."),
    gettext_noop("No listener was active lately, so the version could not be tried."),
    gettext_noop("{listeners} listeners got a list each, 95 % of them within {milliseconds} ms of CPU."),
    gettext_noop(
        "{listeners} listeners got a list each, 95 % of them within {milliseconds} ms of CPU; "
        "{short} lists were too short."
    ),
    gettext_noop("Not measured: no listener played a new song in the latest week."),
    gettext_noop("Not measured: no listener with earlier plays played a new song in the latest week."),
    gettext_noop("{said_text} Paired by listener: {pairs_text}."),
    gettext_noop(
        "{said_text} {listeners} listeners are too few to decide: chance alone makes such differences."
    ),
    gettext_noop(
        "NDCG@20 {ndcg} on the latest week, {best} by popularity or chance ({low} to {high} {against_text})."
    ),
    gettext_noop("NDCG@20 {ndcg} on the latest week, {best} by popularity or chance."),
    gettext_noop("{difference} {against_text} ({low} to {high})"),
    gettext_noop("{pairs_text}, {pair_text}"),
    gettext_noop("against popularity"),
    gettext_noop("against random"),
    gettext_noop("against rp3beta"),
    gettext_noop("against {model_name}"),
    gettext_noop("Not compared: there is no champion, or it was trained on the latest week."),
    gettext_noop(
        "NDCG@20 {difference} against {version_name} on the same week ({low} to {high}, {listeners}"
        " listeners)."
    ),
    gettext_noop("There is no champion with the same method to compare with."),
    gettext_noop(
        "Clusters of {version_name} and of {champion_name}: explained variance {r} against "
        "{other_r}, silhouette {s} against {other_s}."
    ),
    gettext_noop(
        "Clusters of {version_name} and of {champion_name}: explained variance {r} against {other_r}."
    ),
    gettext_noop("Clusters of {version_name} and of {champion_name}: silhouette {s} against {other_s}."),
    gettext_noop("Not estimated: no list was served since the end of its training data."),
    gettext_noop("Advice: {said_text}."),
    gettext_noop(
        "Estimated reward of the first songs: {new} against {old} ({low} to {high}), support "
        "{support}, effective sample {effective}% of {lists} lists"
    ),
    gettext_noop(
        "{said_text}; a refresh with less than {least}% support is unusual: look at its lists "
        "before it is tested"
    ),
    gettext_noop("{said_text}; too few to say anything"),
    gettext_noop("{said_text}; by them it is clearly worse"),
)
# Results of trainings, first promotions, and how the number of clusters was chosen.
TRAININGS: Final = (
    gettext_noop("The first model. {said_text}"),
    gettext_noop("Requested. {said_text}"),
    gettext_noop("NDCG@20 {ndcg} on the latest week, {times} times popularity's ({listeners} listeners)."),
    gettext_noop("NDCG@20 {ndcg} on the latest week ({listeners} listeners)."),
    gettext_noop(
        "Version {version_name} is a candidate. {said_text} To make it champion: python manage.py "
        "promote {same_name} --reason '...'"
    ),
    gettext_noop(
        "Version {version_name} is worse than popularity and stays a candidate. {said_text} To make"
        " it champion: python manage.py promote {same_name} --reason '...'"
    ),
    gettext_noop("Version {version_name} is champion. {said_text}"),
    gettext_noop("The default for a catalogue of this size."),
    gettext_noop(
        "The default for a catalogue of this size. There was no week of new plays to choose the number by."
    ),
    gettext_noop("Set by hand."),
    gettext_noop("Continued from {version_name}."),
    gettext_noop(
        "{n} clusters give the best lists drawn for what {listeners} listeners played next (NDCG@20 {ndcg})."
    ),
    gettext_noop(
        "{some_numbers} clusters give equally good lists drawn for what {listeners} listeners "
        "played next (NDCG@20 {ndcg}): {n} is the most stable of them, or the nearest to the "
        "default of {default}."
    ),
    gettext_noop(
        "Only {listeners} listeners played a new song next (at least {least} are needed): the "
        "default for the size of the catalogue."
    ),
)
# Why no model serves, or another one than the champion. Errors of files stay in English.
SERVING: Final = (
    gettext_noop("There is no model yet. Train one: python manage.py retrain"),
    gettext_noop(
        "The source's catalogue was replaced at {reset_date} UTC, and no model has been trained on it yet. "
        "Train one: python manage.py retrain"
    ),
    gettext_noop("{version_name}: {error_typed} Popularity serves instead."),
    gettext_noop("{version_name}: {error_typed} {serving_name} serves instead."),
)
# Why an action of staff is refused. Errors of files and joined results of gates stay in English.
REFUSALS: Final = (
    gettext_noop("The champion is now {new_name}, no longer {version_name}."),
    gettext_noop("There is no good version before {version_name}."),
    gettext_noop("There is no good version before {version_name}. Damaged: {error_typed}"),
    gettext_noop("{version_name} is the champion already."),
    gettext_noop("{version_name} was withdrawn: a withdrawn version never returns."),
    gettext_noop("The files of {version_name} were deleted."),
    gettext_noop("{version_name} was trained on a catalogue that the source has replaced since."),
    gettext_noop("{version_name} serves or is in an unfinished experiment: its files are needed."),
    gettext_noop("{version_name} is {role_text}: it can't be tested."),
    gettext_noop("The files of {version_name} were deleted: it can't be tested."),
    gettext_noop("{version_name} was trained on a catalogue that the source no longer has."),
    gettext_noop("{version_name} did not pass: {gate_text}"),
    gettext_noop("{version_name} did not pass: {error_typed}"),
    gettext_noop(
        "Experiment {number}: {challenger_name} against {champion_name} is under way: stop it first."
    ),
    gettext_noop("Experiment {number}: {challenger_name} against {champion_name} is over."),
    gettext_noop("There is no champion to test against: promote a version first."),
    # Roles within them.
    gettext_noop("Champion"),
    gettext_noop("Challenger"),
    gettext_noop("Withdrawn"),
)
# Names of checks and measures within decisions.
NAMES: Final = (
    gettext_noop("First picks by the challenger"),
    gettext_noop("Lists of the test"),
    gettext_noop("Listeners of the challenger"),
    gettext_noop("Engaged songs a list"),
)

# Parts of the product that decide; any other actor is a user.
ACTORS: Final = {
    AUTOMATIC_ACTOR: gettext_noop("automatic"),
    "the simulation": gettext_noop("simulation"),
}

_PATTERNS: Final = SentencePatterns([*DECISIONS, *GATES, *TRAININGS, *SERVING, *REFUSALS, *NAMES])


def actor_name(actor: str) -> str:
    """Who decided: a part of the product in the active language, or a user's name."""
    return _(ACTORS[actor]) if actor in ACTORS else actor


def translate_stored(text: str) -> str | None:
    """The sentence in the active language; None if only its English text is known."""
    return _PATTERNS.translate(text)
