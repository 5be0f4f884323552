"""The front page, which joins both rooms."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect


def home(request: HttpRequest) -> HttpResponse:
    """The way in: the admin, until there is a page of its own."""
    return redirect("admin:index")
