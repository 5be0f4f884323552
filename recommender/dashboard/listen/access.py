"""Decides who sees the listener page: a listener with a signed link, or staff, who get a preview."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from ingestion.api.sliding_window import Rate, seconds_until_allowed
from ingestion.models import Listener
from ingestion.source.repairs import read_id

SALT: Final = "recommender.listener-link"
COOKIE: Final = "listener_link"
COOKIE_PATH: Final = "/listen/"
ACTING_KEY: Final = "acting_as_listener"  # in a session, so that it ends with the owner's login
DEFAULT_DAYS: Final = 7
MAX_DAYS: Final = 90
DAY_SECONDS: Final = 86_400
COMMAND_MAKER: Final = 0  # in place of the user's id in links that a command made
VIEW_PERMISSION: Final = "ingestion.view_listener"
# Lists are stored and feedback counts for whoever holds a link.
LINK_PERMISSION: Final = "recommender.add_feedback"
SERVED_TO: Final = "listener page"  # who asked for a list, as it is stored with the list
MAX_SERVED_TO: Final = 150  # characters
# A dial that moves asks about five times a second; nobody moves it for longer than some seconds.
RATE: Final = Rate(120, 60)


class InvalidLink(ValueError):
    """The link was changed or has expired, or its maker or listener is gone."""


@dataclass(frozen=True)
class Visitor:
    """The listener whose page is shown; nothing is stored if staff look at it (`is_preview`)."""

    listener_id: int
    is_preview: bool = False
    acting: str = ""  # user name of the owner who acts as the listener

    @property
    def served_to(self) -> str:
        return f"{SERVED_TO}: {self.acting}"[:MAX_SERVED_TO] if self.acting else SERVED_TO


def make_link_token(listener_id: int, *, maker_id: int = COMMAND_MAKER, days: int = DEFAULT_DAYS) -> str:
    return signing.dumps([listener_id, maker_id, days], salt=SALT)


def read_link_token(text: str) -> tuple[int, int]:
    """The listener's id, and the days for which the token was made.

    Raises:
        InvalidLink: it was changed or has expired, its maker may no longer make links, or its listener
            does not exist any more.
    """
    try:
        values: Any = signing.loads(text, salt=SALT, max_age=MAX_DAYS * DAY_SECONDS)
        listener_id, maker_id, days = values
        # The link's own age, which may be shorter; the signature covers it.
        signing.loads(text, salt=SALT, max_age=days * DAY_SECONDS)
    except signing.SignatureExpired:
        raise InvalidLink(_("This link has expired.")) from None
    except (signing.BadSignature, ValueError, TypeError):
        raise InvalidLink(_("This link is not valid.")) from None
    if maker_id != COMMAND_MAKER and not _may_make_links(maker_id):
        raise InvalidLink(_("This link is no longer valid."))
    if not Listener.objects.filter(pk=listener_id).exists():
        raise InvalidLink(_("This link is no longer valid."))
    return listener_id, days


def _may_make_links(user_id: int) -> bool:
    user = User.objects.filter(pk=user_id, is_active=True, is_staff=True).first()
    return user is not None and user.has_perms((VIEW_PERMISSION, LINK_PERMISSION))


def remember_link(response: HttpResponse, token: str, days: int) -> None:
    """Store the link in a cookie, so that addresses of the page do not contain it."""
    response.set_cookie(
        COOKIE, token, max_age=days * DAY_SECONDS, path=COOKIE_PATH, httponly=True, samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )  # fmt: skip


def forget_link(request: HttpRequest, response: HttpResponse) -> None:
    request.session.pop(ACTING_KEY, None)
    response.delete_cookie(COOKIE, path=COOKIE_PATH)


def has_link(request: HttpRequest) -> bool:
    return ACTING_KEY in request.session or COOKIE in request.COOKIES


def may_preview(request: HttpRequest) -> bool:
    user = request.user
    return bool(user.is_active and user.is_staff and user.has_perm(VIEW_PERMISSION))


def may_make_links(request: HttpRequest) -> bool:
    return may_preview(request) and request.user.has_perm(LINK_PERMISSION)


def find_visitor(request: HttpRequest) -> Visitor | None:
    """The listener of the link, or the one that staff name with `user`.

    Raises:
        InvalidLink: the link in the cookie or session is no longer valid.
    """
    named = request.GET.get("user")
    if named is not None and may_preview(request):
        listener_id = read_id(named)
        return None if listener_id is None else Visitor(listener_id, is_preview=True)
    if acting := request.session.get(ACTING_KEY):
        return Visitor(read_link_token(acting)[0], acting=request.user.get_username())
    token = request.COOKIES.get(COOKIE)
    return Visitor(read_link_token(token)[0]) if token else None


def visitor_required(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Give the view the visitor as its second argument; 403 for everybody else."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **named: Any) -> HttpResponse:
        try:
            visitor = find_visitor(request)
        except InvalidLink as error:
            raise PermissionDenied(str(error)) from None
        if visitor is None:
            raise PermissionDenied
        return view(request, visitor, *args, **named)

    return guarded


def rate_limited(
    view: Callable[[HttpRequest, Visitor], HttpResponse],
) -> Callable[[HttpRequest, Visitor], HttpResponse]:
    """Answer 429 if a listener sends more requests than a person can; each one draws a list or writes."""

    @wraps(view)
    def limited(request: HttpRequest, visitor: Visitor) -> HttpResponse:
        wait = seconds_until_allowed(f"listener_page:{visitor.listener_id}", RATE, time.time())
        if not wait:
            return view(request, visitor)
        context = {"problem": _("That was too fast. Wait a moment and try again.")}
        response = render(request, "listen/problem.html", context, status=429)
        response.headers["Retry-After"] = str(math.ceil(wait))
        return response

    return limited
