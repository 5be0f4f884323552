"""The audit trail of imports."""

from typing import Any

import pytest
from django.core.management import call_command

from ingestion.models import AuditEntry, IngestionRun

pytestmark = pytest.mark.django_db


def test_an_accepted_reset_is_recorded_with_its_run(serve: Any, settings: Any) -> None:
    settings.BASE_URL = serve()

    call_command("runingest", "--accept-reset", "--dry-run")
    call_command("runingest")
    call_command("runingest", "--accept-reset")

    entry = AuditEntry.objects.get(action="catalogue_reset")
    assert entry.target == f"run {IngestionRun.objects.latest('pk').pk}, succeeded"
    assert entry.actor.startswith("(")
