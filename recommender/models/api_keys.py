"""Keys that apps use to call the API."""

from typing import ClassVar, Literal

from django.contrib.auth.models import User
from django.db import models
from django.utils.translation import gettext_noop as _n

from recommender.models import sql


class Scope(models.TextChoices):
    """What a key may do."""

    CATALOGUE = "catalogue", _n("read songs, listeners, runs and models")
    RECOMMEND = "recommend", _n("request lists, and tokens for listeners")
    FEEDBACK = "feedback", _n("send feedback")
    PERSONAL_DATA = "personal-data", _n("see names, e-mail addresses and genders, if its user may")
    METRICS = "metrics", _n("read /metrics")


def default_scopes() -> list[str]:
    """Scopes of an app that shows lists; others must be requested."""
    return [Scope.CATALOGUE.value, Scope.RECOMMEND.value, Scope.FEEDBACK.value]


def all_scopes() -> list[str]:
    """All scopes, which keys from releases without scopes have."""
    return list(Scope.values)


class ApiKey(models.Model):
    """A key of an app; only its digest is stored, and the key itself is shown once."""

    name = models.CharField(max_length=100, help_text="The app that uses the key, such as 'iOS app'.")
    user = models.ForeignKey(
        User, models.CASCADE, related_name="api_keys", help_text="The key has this user's permissions."
    )
    prefix = models.CharField(
        "key prefix", max_length=8, editable=False, help_text="The key's first characters."
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=default_scopes, help_text="What the key may do.")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="To the minute; empty if it was never used."
    )

    class Meta:
        verbose_name = "API key"
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"

    @classmethod
    def read_with_user(cls, column: Literal["id", "digest"], value: object) -> "ApiKey | None":
        """The key with this id or digest, and its user, with one short query."""
        return sql.row_with_parent(cls, "user", column, value)

    @property
    def throttle_name(self) -> str:
        return f"key{self.pk}"
