"""The login form, lock-out of password guessers by django-axes, and an incident while a lock lasts."""

import logging
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Final

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator
from django.db.models import Max, Sum
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.forms import AuthenticationForm

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition, Severity
from ingestion.audit import Action, record_audit
from moovitamix.security.two_factor import WRONG_CODE, CodeField, find_app, is_right_code
from recommender.api.throttling import client_address

logger = logging.getLogger(__name__)

LOCKED: Final = "login_locked"


def login_address(request: HttpRequest) -> str | None:
    """The address by which failed logins are counted; an IPv6 network of 64 bits counts as one.

    None without a readable address, such as behind a proxy that sends a malformed X-Forwarded-For.
    """
    address = client_address(request).partition("/")[0]
    try:
        return str(ip_address(address))
    except ValueError:
        return None


def locked_logins(now: datetime) -> None:
    """Report each address from which too many logins failed, until its lock ends."""
    recent = AccessAttempt.objects.filter(attempt_time__gt=now - settings.AXES_COOLOFF_TIME)
    counted = (
        recent.order_by()
        .values("ip_address")
        .annotate(failures=Sum("failures_since_start"), last_at=Max("attempt_time"))
    )
    conditions = [
        Condition(
            # A colon separates the parts of a key.
            f"{LOCKED}:{(row['ip_address'] or 'unknown').replace(':', '-')}", LOCKED, Severity.WARNING,
            {
                "address": row["ip_address"], "failures": row["failures"],
                "last_at": row["last_at"].isoformat(),
            },
        )
        for row in counted
        if row["failures"] >= settings.AXES_FAILURE_LIMIT
    ]  # fmt: skip
    incidents.sync_scope(LOCKED, conditions, now)


class AuditedLoginForm(AuthenticationForm):
    """The admin's login form, with a code for users who have set up an authenticator app.

    Records successful and failed logins in the audit trail and the log.
    """

    code = CodeField(
        label=_lazy("Code"), required=False, help_text=_lazy("Only if you have set up an authenticator app.")
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Django gives the limit to browsers only. A longer name has no user, and would not fit into the
        # tables of failed logins.
        name = self.fields["username"]
        name.validators.append(MaxLengthValidator(name.max_length))

    def clean(self) -> Any:
        name = self.cleaned_data.get("username") or ""
        address = login_address(self.request) if self.request is not None else None
        try:
            cleaned = super().clean()
            self._require_code(name)
        except ValidationError:
            logger.warning("login_failed user=%r address=%s", name, address)
            record_audit(Action.LOGIN_FAILED, name, address=address)
            raise
        # Without a name, or with a code that can't be read, nobody is logged in.
        if not self.errors:
            record_audit(Action.LOGIN, name, address=address)
        return cleaned

    def _require_code(self, name: str) -> None:
        """Check the code if the user has an app. A wrong one counts like a wrong password."""
        user = self.get_user()
        app = find_app(user)
        if app is None:
            return
        code = self.cleaned_data.get("code", "")
        if not (code and is_right_code(app, code)):
            user_login_failed.send(sender=__name__, credentials={"username": name}, request=self.request)
            raise ValidationError(WRONG_CODE if code else _("Enter the code of your authenticator app, too."))
        # django-otp notes in the session, when the login is complete, that a code was given.
        user.otp_device = app
