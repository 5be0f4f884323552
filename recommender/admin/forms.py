"""What staff are asked before something is done."""

from collections.abc import Iterable
from typing import Final

from django import forms
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget

from recommender.experiments.eligibility import MAX_SPLIT_SHARE
from recommender.experiments.lifecycle import LIST_SHARE

PERCENT: Final = 100


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label="Reason",
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="It stands in the ledger, with your name, for whoever asks later.",
    )


class TrafficSplitForm(ReasonForm):
    field_order: Iterable[str] | None = ("split", "reason")

    split = forms.IntegerField(
        label="Listeners in the A/B split, in percent",
        min_value=0,
        max_value=round(PERCENT * MAX_SPLIT_SHARE),
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Half of them get lists of the challenger alone, half of the champion alone, as long as a "
        "test runs. Their engagement is watched; the rounds of all others decide. Of fewer than 30 listeners "
        "an arm nothing is concluded.",
    )

    @property
    def split_share(self) -> float:
        share: float = self.cleaned_data["split"] / PERCENT
        return share


class StartExperimentForm(TrafficSplitForm):
    field_order: Iterable[str] | None = ("lists", "split", "reason")

    lists = forms.IntegerField(
        label="Lists that mix both, in percent",
        min_value=1,
        max_value=PERCENT,
        initial=round(PERCENT * LIST_SHARE),
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Of the other listeners' lists. More than 70 take some from the anchor's comparison.",
    )

    @property
    def list_share(self) -> float:
        share: float = self.cleaned_data["lists"] / PERCENT
        return share
