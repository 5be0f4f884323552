"""Admin actions that ask for a reason before they act."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from recommender.admin.forms import ReasonForm
from recommender.dashboard.formatting import stored_text
from recommender.engine.artifact import ArtifactError
from recommender.experiments.lifecycle import ExperimentNotAllowed
from recommender.registry.registry import RegistryError

REFUSALS = (ExperimentNotAllowed, RegistryError, ArtifactError)


class ReasonedActionMixin:
    """Adds actions to a ModelAdmin for which GET asks for a reason and POST acts."""

    admin_site: AdminSite

    def act_with_reason(
        self,
        request: HttpRequest,
        form: ReasonForm,
        act: Callable[[str, str], tuple[str, str]],
        *,
        title: str,
        text: str,
        cancel_url: str,
    ) -> HttpResponse:
        """The page with the form, or a redirect after the action.

        Args:
            form: bound if the request is a POST.
            act: gets reason and user name; returns a message and the next URL. Its errors in `REFUSALS`
                become a message on `cancel_url`.
            text: what the action will do, in a sentence or two.
        """
        if request.method == "POST" and form.is_valid():
            try:
                message, next_url = act(form.cleaned_data["reason"], request.user.get_username())
            except REFUSALS as error:
                messages.error(request, stored_text(str(error)))
                return redirect(cancel_url)
            messages.success(request, message)
            return redirect(next_url)
        context: dict[str, Any] = {
            **self.admin_site.each_context(request), "title": title, "text": text, "form": form,
            "back": cancel_url,
        }  # fmt: skip
        return render(request, "admin/recommender/reason_form.html", context)
