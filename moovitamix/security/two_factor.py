"""Two-factor logins: beside the password, a code of an authenticator app, checked by django-otp."""

from base64 import b32encode
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode

import segno
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.cache import never_cache
from django_otp import DEVICE_ID_SESSION_KEY, verify_token
from django_otp import login as remember_device
from django_otp.models import Device
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.widgets import UnfoldAdminTextInputWidget

from ingestion.audit import Action, record_audit
from moovitamix.api.exceptions import error_body
from moovitamix.api.rendering import API_PREFIX

DEVICE_NAME: Final = "authenticator app"
PAGE: Final = "two-factor"
NEXT: Final = REDIRECT_FIELD_NAME
SECRET_GROUP: Final = 4  # characters of the secret between two spaces
WRONG_CODE: Final = _lazy(
    "The code is not right. Each code works once; after several wrong ones, wait a minute."
)
CODE_FIRST: Final = _lazy(
    "Enter an authenticator app's code first, at {address}: two-factor logins are required."
)


class CodeField(forms.CharField):
    """The six digits of an authenticator app; spaces between them are ignored."""

    def __init__(self, **options: Any) -> None:
        digits = {"autocomplete": "one-time-code", "inputmode": "numeric"}
        super().__init__(max_length=12, widget=UnfoldAdminTextInputWidget(attrs=digits), **options)

    def clean(self, value: Any) -> str:
        return str(super().clean(value)).replace(" ", "")


class CodeForm(forms.Form):
    code = CodeField(label=_lazy("Code"))


def find_app(user: AbstractBaseUser | AnonymousUser | None) -> TOTPDevice | None:
    """The user's authenticator app, if one is set up."""
    return TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).first() if user else None


def is_right_code(app: TOTPDevice, code: str) -> bool:
    """Whether the app shows this code now; each works once, and wrong ones make the next attempts wait."""
    return verify_token(app.user, app.persistent_id, code) is not None


def remove_app(user: AbstractBaseUser) -> bool:
    """Let the user log in with the password alone; False if no app was set up."""
    return bool(TOTPDevice.objects.filter(user_id=user.pk).delete()[0])


@never_cache
def two_factor_page(request: HttpRequest) -> HttpResponse:
    """The staff member's own page, which sets an app up, verifies this session or removes the app."""
    user = request.user
    if not (user.is_active and user.is_staff):
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))
    app, is_verified = find_app(user), _is_verified(request)
    form = CodeForm(request.POST or None)
    # Made once, so that a reload shows the secret that the person may have scanned already.
    pending = None if app else _find_pending(user) or _make_pending(user)
    if request.method == "POST" and form.is_valid():
        if is_right_code(app or pending, form.cleaned_data["code"]):
            if app and not is_verified:
                remember_device(request, app)
                return redirect(_find_next(request) or "admin:index")
            messages.success(request, _confirm(request, pending) if pending else _remove(request))
            return redirect((_find_next(request) if pending else "") or PAGE)
        form.add_error("code", WRONG_CODE)
    context = {
        **admin.site.each_context(request), "title": _("Two-factor login"), "form": form, "app": app,
        "is_verified": is_verified, "is_required": settings.REQUIRE_TWO_FACTOR,
        **(_secret_of(pending) if pending else {}),
    }  # fmt: skip
    return render(request, "admin/two_factor.html", context)


def two_factor_middleware(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[..., HttpResponse]:
    """If REQUIRE_TWO_FACTOR is set, redirect sessions without a second factor to the two-factor page."""

    def respond(request: HttpRequest) -> HttpResponse:
        if not settings.REQUIRE_TWO_FACTOR or _is_open(request) or _is_verified(request):
            return get_response(request)
        if request.path_info.startswith(API_PREFIX):
            message = CODE_FIRST.format(address=reverse(PAGE))
            return JsonResponse(error_body("permission_denied", message), status=403)
        if request.headers.get("HX-Request") == "true":
            # After a redirect, htmx would insert the page with the secret into the middle of another one.
            return HttpResponse(status=204, headers={"HX-Refresh": "true"})
        if request.method != "GET":
            return redirect(PAGE)
        return redirect(f"{reverse(PAGE)}?{urlencode({NEXT: request.get_full_path()}, safe='/')}")

    return respond


def _find_next(request: HttpRequest) -> str:
    """The page to open after the code, if it is one of this site."""
    address = request.GET.get(NEXT, "")
    is_ours = url_has_allowed_host_and_scheme(
        address, {request.get_host()}, require_https=request.is_secure()
    )
    return address if is_ours else ""


def _is_open(request: HttpRequest) -> bool:
    # The login is open because the page redirects users who are not staff to it.
    open_pages = {reverse(PAGE), reverse("admin:login"), reverse("admin:logout")}
    return request.user.is_anonymous or request.path_info in open_pages


def _is_verified(request: HttpRequest) -> bool:
    # Read with each request, so that an app that was removed ends the rights of its sessions.
    device = Device.from_persistent_id(request.session.get(DEVICE_ID_SESSION_KEY, ""))
    return device is not None and device.user_id == request.user.pk


def _find_pending(user: AbstractBaseUser | AnonymousUser) -> TOTPDevice | None:
    # Two requests at once may have made two: the oldest counts.
    return TOTPDevice.objects.filter(user_id=user.pk, confirmed=False).order_by("pk").first()


def _make_pending(user: AbstractBaseUser | AnonymousUser) -> TOTPDevice:
    return TOTPDevice.objects.create(user_id=user.pk, confirmed=False, name=DEVICE_NAME)


def _confirm(request: HttpRequest, pending: TOTPDevice) -> str:
    TOTPDevice.objects.filter(pk=pending.pk).update(confirmed=True)
    remember_device(request, pending)
    record_audit(Action.ACCOUNT_CHANGED, request.user.get_username(), "set up two-factor logins")
    return _("Your next login will ask for a code from your authenticator app.")


def _remove(request: HttpRequest) -> str:
    if isinstance(request.user, AbstractBaseUser):
        remove_app(request.user)
    record_audit(Action.ACCOUNT_CHANGED, request.user.get_username(), "removed two-factor logins")
    return _("Your authenticator app was removed. Your next login needs only the password.")


def _secret_of(pending: TOTPDevice) -> dict[str, str]:
    secret = b32encode(pending.bin_key).decode().rstrip("=")
    groups = (secret[at : at + SECRET_GROUP] for at in range(0, len(secret), SECRET_GROUP))
    return {
        "secret": " ".join(groups),
        "picture": segno.make(pending.config_url).svg_data_uri(scale=5, light="white"),
    }
