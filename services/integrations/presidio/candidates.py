"""Which kinds of personal data may a text hold? A cheap test before Presidio's recognisers and phonenumbers, which take up to a millisecond
for a thousand characters.

In: a text. Out: Presidio's names of kinds. Each test is a part of the recogniser's own pattern that every finding contains, without what
stands around it, so it misses nothing; a text that passes may hold nothing all the same. The tests compare both on generated texts.
"""

from collections.abc import Callable, Mapping

import regex  # Presidio's own engine: what it calls a digit or the same letter, Python's re need not

from flywheel.traffic.secrets import may_hold_secret as may_hold_secret
from services.integrations.presidio.phone_numbers import CHAIN, PHONE

EMAIL, CARD, IBAN, IP, SSN, CRYPTO = "EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "US_SSN", "CRYPTO"
_CARD = regex.compile(r"[13-6１３-６]\d{3}[- \n]?\d{3,4}[- \n]?\d{3,4}[- \n]?\d{3}|[2-6２-６]\d{3}(?:[- \n]?\d){8}")
_IBAN = regex.compile(r"[A-Z]{2}\d{2}[ \n-]?[A-Z\d]{4}[ \n-]?[A-Z\d]{4}")
_IP_4 = regex.compile(r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
_SSN = regex.compile(r"[0-9]{3}[- .][0-9]{2}[- .][0-9]{4}")
_CRYPTO = regex.compile(r"(?:bc1|[13])[a-zA-HJ-NP-Z0-9]{25}", regex.IGNORECASE)

_MAY_HOLD: Mapping[str, Callable[[str], object]] = {
    EMAIL: lambda text: "@" in text,
    CARD: _CARD.search,
    IBAN: _IBAN.search,
    IP: lambda text: "::" in text or text.count(":") >= 6 or (text.count(".") >= 3 and _IP_4.search(text)),
    SSN: _SSN.search,
    CRYPTO: _CRYPTO.search,
    PHONE: CHAIN.search,
}


def kinds_in(text: str) -> list[str]:
    """The kinds that may be in the text."""
    return [kind for kind, may_hold in _MAY_HOLD.items() if may_hold(text)]
