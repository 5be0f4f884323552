"""Formats numbers for the recommender's pages."""

from typing import Final

from django.utils.formats import get_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from recommender.dashboard.stored_sentences import translate_stored
from recommender.engine.experiments.evidence import format_evidence_ratio

THIN_SPACE: Final = "\N{NARROW NO-BREAK SPACE}"
NOT_MEASURED: Final = gettext_noop("not measured")


def format_count(count: int) -> str:
    return f"{count:,}".replace(",", THIN_SPACE)


def format_decimal(value: float | None, digits: int) -> str:
    return _(NOT_MEASURED) if value is None else localize_decimals(f"{value:.{digits}f}")


def format_percent(share: float) -> str:
    """A share as a percentage: 0.125 gives "12.5 %"."""
    return localize_decimals(f"{100 * share:.1f}".removesuffix(".0")) + f"{THIN_SPACE}%"


def format_ratio(ratio: float | None) -> str:
    if ratio is None:
        return _(NOT_MEASURED)
    return localize_decimals(f"{ratio:.2f}") + f"{THIN_SPACE}\N{MULTIPLICATION SIGN}"


def localize_decimals(text: str) -> str:
    """The text of a number with the language's decimal separator."""
    return text.replace(".", str(get_format("DECIMAL_SEPARATOR")))


def format_evidence(ln_e: float) -> str:
    """An e-value as a ratio, such as "9.2 : 1", as the language writes numbers."""
    text = format_evidence_ratio(ln_e).replace("over 1,000,000", _("over 1,000,000"))
    return (
        text if get_format("DECIMAL_SEPARATOR") == "." else localize_decimals(text.replace(",", THIN_SPACE))
    )


def format_signed(value: float, digits: int) -> str:
    """A difference with its sign: +0.0123."""
    return localize_decimals(f"{value:+.{digits}f}")


def stored_text(text: str, max_length: int | None = None) -> SafeString:
    """A stored sentence, such as the reason of a decision, in the page's language; else marked as English."""
    translated = translate_stored(text)
    if translated is not None:
        return format_html("{}", Truncator(translated).chars(max_length) if max_length else translated)
    return format_html('<span lang="en" translate="no">{}</span>', text[:max_length])
