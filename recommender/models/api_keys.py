"""Keys that apps use to call the API."""

from typing import ClassVar

from django.contrib.auth.models import User
from django.db import models


class ApiKey(models.Model):
    """An app's key for the API. Only its digest is stored; the key itself is shown once."""

    name = models.CharField(max_length=100, help_text="The app that uses the key, such as 'iOS app'.")
    user = models.ForeignKey(
        User, models.CASCADE, related_name="api_keys", help_text="The key has this user's permissions."
    )
    prefix = models.CharField(
        "key prefix", max_length=8, editable=False, help_text="The key's first characters."
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API key"
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"
