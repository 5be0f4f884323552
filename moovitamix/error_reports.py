"""Error reports of Django: hides every setting that may hold a password or a token."""

import re

from django.views.debug import SafeExceptionReporterFilter


class AddressHidingFilter(SafeExceptionReporterFilter):
    """Also hides addresses: a URL of Redis, a mail server, a webhook or the source may contain a secret."""

    hidden_settings = re.compile(
        SafeExceptionReporterFilter.hidden_settings.pattern + "|URL|LOCATION|DATABASES|EMAIL|PROXY",
        re.IGNORECASE,
    )
