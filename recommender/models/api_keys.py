"""Programs that may ask."""

from typing import ClassVar

from django.contrib.auth.models import User
from django.db import models


class ApiKey(models.Model):
    """A program's key to the API. Only its digest is kept: the key itself is shown once."""

    name = models.CharField(max_length=100, help_text="Who uses it, such as 'iOS app'.")
    user = models.ForeignKey(
        User, models.CASCADE, related_name="api_keys", help_text="What this user may see, the key may."
    )
    prefix = models.CharField(
        max_length=8, editable=False, help_text="The key's first letters, to tell keys apart."
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
