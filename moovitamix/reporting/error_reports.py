"""Error reports of Django, without settings that may hold a password or a token."""

import re

from django.views.debug import SafeExceptionReporterFilter


class AddressHidingFilter(SafeExceptionReporterFilter):
    """Hides secrets as Django does, and also addresses, because a URL may hold a password or token."""

    hidden_settings = re.compile(
        SafeExceptionReporterFilter.hidden_settings.pattern + "|URL|LOCATION|DATABASES|EMAIL|PROXY",
        re.IGNORECASE,
    )
