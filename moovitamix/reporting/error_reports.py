"""Error reports of Django, without settings that may hold a password or a token."""

import re

from django.views.debug import SafeExceptionReporterFilter


class AddressHidingFilter(SafeExceptionReporterFilter):
    """Also hides addresses, because a URL of Redis, mail server, webhook or source may hold a secret."""

    hidden_settings = re.compile(
        SafeExceptionReporterFilter.hidden_settings.pattern + "|URL|LOCATION|DATABASES|EMAIL|PROXY",
        re.IGNORECASE,
    )
