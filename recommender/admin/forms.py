"""Forms of the admin actions on experiments and versions."""

from collections.abc import Iterable
from typing import Final

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
)

from recommender.experiments.eligibility import MAX_SPLIT_SHARE
from recommender.experiments.lifecycle import LIST_SHARE
from recommender.models import ModelVersion

PERCENT: Final = 100


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=_lazy("Reason"),
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=_lazy(
            "For example: “Listeners complained about repeated songs.” Your user name is stored, too."
        ),
    )


class RollbackForm(ReasonForm):
    # The champion when the page was opened: a second click must not withdraw the restored version, too.
    champion = forms.CharField(required=False, widget=forms.HiddenInput)


class NoteForm(ReasonForm):
    reason = forms.CharField(
        label=_lazy("Note"),
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text=_lazy("For example: “The app showed lists in a new place from 3 March on.”"),
    )


class TrafficSplitForm(ReasonForm):
    field_order: Iterable[str] | None = ("split", "reason")

    split = forms.IntegerField(
        label=_lazy("Listeners in the A/B split, in percent"),
        min_value=0,
        max_value=round(PERCENT * MAX_SPLIT_SHARE),
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=_lazy(
            "During an experiment, half of these listeners get the challenger alone and half the "
            "champion alone, and their engagement is compared. All other listeners get lists that mix both. "
            "0: no split. With fewer than 30 listeners in each half, the comparison decides nothing."
        ),
    )

    @property
    def split_share(self) -> float:
        share: float = self.cleaned_data["split"] / PERCENT
        return share


class StartExperimentForm(TrafficSplitForm):
    field_order: Iterable[str] | None = ("lists", "split", "reason")

    lists = forms.IntegerField(
        label=_lazy("Lists that mix both models, in percent"),
        min_value=1,
        max_value=PERCENT,
        initial=round(PERCENT * LIST_SHARE),
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=_lazy(
            "Percentage of lists that the experiment uses, for listeners outside the A/B split. Above "
            "70, fewer lists remain for the holdback."
        ),
    )

    @property
    def list_share(self) -> float:
        share: float = self.cleaned_data["lists"] / PERCENT
        return share


class CompareVersionsForm(forms.Form):
    first = forms.ModelChoiceField(
        ModelVersion.objects.all(),
        label=_lazy("First"),
        to_field_name="label",
        widget=UnfoldAdminSelectWidget,
    )
    second = forms.ModelChoiceField(
        ModelVersion.objects.all(),
        label=_lazy("Second"),
        to_field_name="label",
        widget=UnfoldAdminSelectWidget,
    )

    def clean(self) -> dict[str, object]:
        chosen = {**self.cleaned_data}
        if chosen.get("first") is not None and chosen.get("first") == chosen.get("second"):
            raise forms.ValidationError(_("Choose two different versions."))
        return chosen

    @property
    def chosen(self) -> tuple[ModelVersion, ModelVersion]:
        return self.cleaned_data["first"], self.cleaned_data["second"]
