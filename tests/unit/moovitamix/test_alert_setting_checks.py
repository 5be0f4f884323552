"""Invalid alert addresses are reported when a command starts, without showing them."""

import pytest
from django.core import checks
from pytest_django import Settings

from tests.support.project import Project

SERVER = "django.core.mail.backends.smtp.EmailBackend"
SLACKS = (
    "https://hooks.slack.com/services/T0AAAAAAA/B0BBBBBBB/c3NlY3JldHNl",
    "https://hooks.slack.com/triggers/T0AAAAAAA/123/abc",
    # It speaks Slack's language.
    "http://mattermost:8065/hooks/s3cret",
)
OURS = {"moovitamix.W003", "moovitamix.W004", "moovitamix.W005", "moovitamix.W006"}
SECRETS = ("s3cret", "ada", "example")

# Apprise asks for it, and it goes with Python 3.13.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def unset(settings: Settings) -> None:
    settings.ALERT_EMAILS, settings.SLACK_WEBHOOK_URL, settings.ALERT_URLS = [], "", []
    settings.EMAIL_BACKEND = SERVER


def problems() -> dict[str, str]:
    return {str(one.id): one.msg for one in checks.run_checks() if one.id in OURS}


def test_channels_that_may_work_and_none_at_all_are_fine(settings: Settings) -> None:
    nobody = problems()
    settings.ALERT_EMAILS = ["ada@example.org", "Ada <ada@localhost>"]
    settings.ALERT_URLS = ["json://localhost/s3cret", "tgram://123456789:abcdefg_hijklmnop/12315544/"]
    found = []
    for slack in SLACKS:
        settings.SLACK_WEBHOOK_URL = slack
        found.append(problems())

    assert [nobody, *found] == [{}, {}, {}, {}]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ALERT_EMAILS", ["ada@example.org", "ada.example.org"], "W003"),
        ("ALERT_EMAILS", ["ada@example@s3cret"], "W003"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/s3cret", "W004"),
        ("SLACK_WEBHOOK_URL", "http://hooks.slack.com/services/T0A/B0B/s3cret", "W004"),
        ("ALERT_URLS", ["json://localhost/", "s3cret.example"], "W005"),
        ("ALERT_URLS", ["telegramm://s3cret/ada"], "W005"),
        ("ALERT_URLS", ["tgram://s3cret"], "W005"),
    ],
)
def test_an_address_that_nothing_can_be_sent_to_is_named_by_its_place_and_not_shown(
    settings: Settings, name: str, value: object, expected: str
) -> None:
    setattr(settings, name, value)

    ((code, said),) = problems().items()

    assert code == f"moovitamix.{expected}"
    assert name in said
    assert [secret for secret in SECRETS if secret in said] == []
    if isinstance(value, list) and len(value) == 2:
        assert said.startswith("Address 2 of 2 in ")


def test_mails_to_somebody_that_are_only_printed_are_told_of(settings: Settings) -> None:
    settings.ALERT_EMAILS = ["ada@example.org"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"

    assert list(problems()) == ["moovitamix.W006"]


@pytest.mark.slow
def test_a_command_tells_it_and_goes_on(sqlite_project: Project) -> None:
    done = sqlite_project.manage("migrate", "-v0", ALERT_URLS="telegramm://s3cret/chat")

    assert done.returncode == 0
    assert "(moovitamix.W005) Address 1 of 1 in ALERT_URLS is not a URL that Apprise supports." in done.stderr
    assert "python manage.py testalert" in done.stderr
    assert "s3cret" not in done.stderr + done.stdout
