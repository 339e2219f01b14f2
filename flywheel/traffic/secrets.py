"""Finds secrets in a text: API keys and tokens, passwords, private keys.

In: a text. Out: the places of the secrets, each with its kind. Rules are of three forms: a prefix that a service publishes for its tokens,
a name such as ``password`` before a value, and the frame of a private key. A place is looked for by its literal first; the expression that
then reads on is possessive or bounded, and no two readings overlap, so the time grows with the text's length.

Formats: GitHub "About authentication to GitHub", GitLab "Token overview", AWS IAM "Unique identifiers", Slack "Token types", Stripe "API
keys", Twilio "API keys", PyPI "API tokens", and for the others the rules of detect-secrets 1.5 (Apache-2.0) and gitleaks 8 (MIT); JSON Web
Token RFC 7519, Bearer RFC 6750, user information in a URL RFC 3986, private keys RFC 7468.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

Place = tuple[int, int, str]
"""Start, end (exclusive) and kind of a finding."""
API_KEY, PASSWORD, PRIVATE_KEY = "API_KEY", "PASSWORD", "PRIVATE_KEY"
LONG = 256  # characters; a value of more after a secret's name is one, whatever it looks like
LONGEST_NAME = 100
_HEX, _BASE62, _URL_SAFE = "[0-9a-fA-F]", "[A-Za-z0-9]", "[A-Za-z0-9_-]"
_REST: Mapping[str, str] = {
    "sk-": rf"{_URL_SAFE}{{20,300}}+",  # OpenAI, Anthropic and others
    **dict.fromkeys(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), rf"{_BASE62}{{36,255}}+"),
    "github_pat_": r"\w{22,255}+",
    **dict.fromkeys(("glpat-", "gldt-", "glrt-", "glptt-", "gloas-", "glsoat-"), r"[\w.-]{20,300}+"),
    **dict.fromkeys(("AKIA", "ASIA"), r"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    **dict.fromkeys(("xoxa-", "xoxb-", "xoxc-", "xoxe-", "xoxp-", "xoxr-", "xoxs-", "xapp-"), r"[A-Za-z0-9-]{10,300}+"),
    **dict.fromkeys(("sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"), rf"{_BASE62}{{16,255}}+"),
    "AIza": rf"{_URL_SAFE}{{35}}",
    "ya29.": r"[\w.-]{20,300}+",
    "GOCSPX-": rf"{_URL_SAFE}{{28}}",
    "hf_": rf"{_BASE62}{{30,255}}+",
    "npm_": rf"{_BASE62}{{36}}",
    "pypi-": rf"{_URL_SAFE}{{50,300}}+",
    "SG.": rf"{_URL_SAFE}{{16,32}}+\.{_URL_SAFE}{{16,64}}+",
    "SK": rf"{_HEX}{{32}}(?![A-Za-z0-9])",
    "dop_v1_": rf"{_HEX}{{64}}",
    "dapi": rf"{_HEX}{{32}}",
    **dict.fromkeys(("shpat_", "shpca_", "shppa_", "shpss_"), rf"{_HEX}{{32}}"),
    **dict.fromkeys(("gsk_", "xai-", "nvapi-", "pplx-"), rf"{_URL_SAFE}{{32,255}}+"),
    "eyJ": rf"{_URL_SAFE}{{8,4000}}+\.eyJ{_URL_SAFE}{{8,8000}}+\.{_URL_SAFE}{{0,2000}}+",
}
_TOKENS = {prefix: re.compile(re.escape(prefix) + rest, re.ASCII) for prefix, rest in _REST.items()}
_BY_SIGN = [(sign, [prefix for prefix in _REST if sign == next((one for one in "_-" if one in prefix), "")]) for sign in ("_", "-", "")]
"""Prefixes by a sign in them, which many texts do not have."""
_PREFIX = re.compile("|".join(map(re.escape, _REST)))
_ALONE = frozenset({"sk-", "AKIA", "ASIA", "SK", "SG.", "dapi", "hf_", "eyJ"})
"""Prefixes that may also be the end of a word: no letter, digit, dash or underscore stands before them."""
_ESCAPES = ("\\n", "\\r", "\\t")  # a line break in JSON is no letter

_NAMES: Mapping[bytes, str] = {
    b"pass": r"pass(?:words?|wd|phrase|wort|code|e)?",
    b"pwd": r"pwd",
    b"kennwort": r"kennwort",
    b"contrase": r"contrase.a",
    b"senha": r"senha",
    b"secret": r"secrets?",
    b"token": r"tokens?",
    b"credential": r"credentials?",
    b"key": r"keys?",  # behind one of _OF_A_KEY
}
"""Names that stand before a secret, in English, German, French, Spanish and Portuguese; each by a literal in lower case."""
_OF_A_KEY = re.compile(
    r"(?:api|access|account|auth|encryption|license|master|private|secret|shared|signing)[_ -]?$", re.IGNORECASE | re.ASCII
)
_OF_PASSWORDS = frozenset({b"pass", b"pwd", b"kennwort", b"contrase", b"senha"})
"""Behind these also a number or a plain word is a secret."""
_IS = r"(?:is|ist|lautet|est|es|é)"
_BEHIND = (
    r"(?![a-z])[\w-]{0,30}+(?:\\{0,2}[\"'])?"  # the rest of the name, as in DB_PASSWORD_PROD, and the end of its quotes
    rf"(?P<sign>(?:\s{{1,3}}{_IS})?\s{{0,3}}(?:=>|:=|[:=])\s{{0,3}}|\s{{1,3}}{_IS}\s{{1,3}})"
    r"(?P<quote>\\{0,2}[\"'])?(?P<value>[^\s\"'\\,<>]{4,4096}+)"
)
_ASSIGNMENTS = {name: re.compile(rest + _BEHIND, re.IGNORECASE | re.ASCII) for name, rest in _NAMES.items()}
_BEARER = re.compile(r"bearer\s{1,3}(?P<value>[A-Za-z0-9._~+/=-]{16,4096}+)", re.IGNORECASE | re.ASCII)
_AUTHORIZATION = re.compile(
    r"authorization(?:\\{0,2}[\"'])?\s{0,3}[:=]\s{0,3}(?:\\{0,2}[\"'])?(?:[a-z]{3,12}\s{1,3})?(?P<value>[A-Za-z0-9._~+/=:-]{8,4096}+)",
    re.IGNORECASE | re.ASCII,
)
_USER_OF_URL = re.compile(r"://[^\s/@:\"'<>\\]{0,100}+:(?P<value>[^\s/@\"'<>\\]{1,200}+)@")
_NO_SECRET = re.compile(
    r"\$[A-Z_]+$|\$[({]|\{\{|\{[a-z_]*\}|%[A-Z_]+%|%s|/|\.{1,2}/|\*+$|x{4,}$|\d{4}-\d\d-\d\d"  # a template, a path, a mask, a date
    r"|(?:none|null|true|false|undefined|string|required|optional|invalid|missing|expired|incorrect)\b",
    re.IGNORECASE | re.ASCII,
)
_OF_CODE = re.compile(r"[A-Za-z_][\w.]*[(\[]|[a-z]+(?:_[a-z]+)+$|[a-z_]+(?:\.[a-z_]+)+$", re.ASCII)
_LETTER, _DIGIT, _ANY_DIGIT = re.compile(r"[^\W\d_]"), re.compile(r"[0-9]"), re.compile(r"\d")
_KEY_BEGINS, _KEY_ENDS = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"), "-----END "
_KEY_LINES = re.compile(r"(?:(?:\s|\\[rn])+[A-Za-z0-9+/=]{16,})+(?:(?:\n|\\n)[A-Za-z0-9+/=]{1,64})?")
"""Of a key whose end is missing."""


def may_hold_secret(text: str) -> bool:
    """A cheap test: False only where ``secrets_in`` finds nothing."""
    has_digit = holds_digit(text)
    if has_digit and any(sign in text and any(prefix in text for prefix in prefixes) for sign, prefixes in _BY_SIGN):
        return True
    if has_digit or "=" in text or ":" in text:
        low = _lower(text)
        if any(name in low for name in _NAMES) or b"bearer" in low or b"authorization" in low:
            return True
    return ("://" in text and "@" in text) or (has_digit and "-----BEGIN " in text)


def may_name_secret(text: str) -> bool:
    """For a text without a digit: False only where it holds no secret."""
    return "=" in text or ":" in text


def holds_digit(text: str) -> bool:
    """Several times as fast as an expression."""
    return (
        ("0" in text or "1" in text or "2" in text or "3" in text or "4" in text)
        or ("5" in text or "6" in text or "7" in text or "8" in text or "9" in text)
        or (not text.isascii() and _ANY_DIGIT.search(text) is not None)
    )


def secrets_in(text: str) -> list[Place]:
    """All secrets; they may overlap."""
    return [*_private_keys(text), *_tokens(text), *_assigned(text)]


def names_secret(key: str) -> bool:
    """Whether a value in JSON under this key may be a secret."""
    return len(key) <= LONGEST_NAME and _names_secret(key)


@lru_cache(maxsize=4_096)
def _names_secret(key: str) -> bool:
    return may_hold_secret(f"{key}=")


def begins_like_token(id: str) -> bool:
    return _PREFIX.match(id) is not None


def _lower(text: str) -> bytes:
    """In lower case where it is ASCII, a byte for each character."""
    return text.encode("latin-1", "replace").lower()


def _places(text: str, literal: str) -> Iterator[int]:
    at = text.find(literal)
    while at >= 0:
        yield at
        at = text.find(literal, at + len(literal))


def _tokens(text: str) -> Iterator[Place]:
    for prefix, pattern in _TOKENS.items():
        done = 0
        for at in _places(text, prefix):
            if at < done or (prefix in _ALONE and not _begins_alone(text, at)):
                continue
            found = pattern.match(text, at)
            if found is not None:
                done = found.end()
                if _DIGIT.search(found[0]) is not None:
                    yield at, done, API_KEY


def _begins_alone(text: str, at: int) -> bool:
    before = text[at - 1] if at else " "
    return not (before.isalnum() or before in "_-") or text[max(0, at - 2) : at] in _ESCAPES


def _assigned(text: str) -> Iterator[Place]:
    low = _lower(text)
    for name, pattern in _ASSIGNMENTS.items():
        kind, done, at = PASSWORD if name in _OF_PASSWORDS else API_KEY, 0, low.find(name)
        while at >= 0:
            found = pattern.match(text, at) if at >= done and (name != b"key" or _OF_A_KEY.search(text, max(0, at - 12), at)) else None
            if found is not None and (end := _end_of_secret(found, of_password=kind == PASSWORD)):
                done = end
                yield found.start("value"), end, kind
            at = low.find(name, at + len(name))
    for literal, pattern in ((b"bearer", _BEARER), (b"authorization", _AUTHORIZATION)):
        at = low.find(literal)
        while at >= 0:
            found = pattern.match(text, at)
            if found is not None and (literal == b"authorization" or _DIGIT.search(found["value"])):
                yield found.start("value"), found.end(), API_KEY
            at = low.find(literal, found.end() if found is not None else at + len(literal))
    for found in _USER_OF_URL.finditer(text):
        yield found.start("value"), found.end("value"), PASSWORD


def _end_of_secret(found: "re.Match[str]", *, of_password: bool) -> int:
    """Where the value ends; 0 for a value that is no secret: a template, a name in code, a number of tokens."""
    value, quoted = found["value"], found["quote"] is not None
    if not quoted:
        value = value.rstrip(".,;:)]}")
    end = found.start("value") + len(value)
    if len(value) > LONG:
        return end
    if len(value) < 4 or "://" in value or _NO_SECRET.match(value) or (not quoted and _OF_CODE.match(value)):
        return 0
    if _DIGIT.search(value):
        return end if of_password or (len(value) >= 6 and _LETTER.search(value)) else 0
    sign, says_a_name = found["sign"], any(name in _lower(value) for name in _NAMES)
    assigned = sign in ("=", ":=", "=>") or (quoted and sign.rstrip()[-1:] in (":", "=", ">"))
    return end if of_password and len(value) >= 6 and assigned and not says_a_name else 0


def _private_keys(text: str) -> Iterator[Place]:
    """From the first line of the frame to its last; without a last line, the lines that look like a key."""
    done, next_end = 0, 0
    for begins in _KEY_BEGINS.finditer(text):
        if begins.start() < done:
            continue
        if 0 <= next_end < begins.end():
            next_end = text.find(_KEY_ENDS, begins.end())
        following = text.find("-----BEGIN ", begins.end(), next_end) if next_end >= 0 else -1
        if next_end >= 0 and following < 0:
            last = text.find("-----", next_end + len(_KEY_ENDS), next_end + 80)
            done = last + 5 if last >= 0 else next_end + len(_KEY_ENDS)
        else:
            lines = _KEY_LINES.match(text, begins.end())
            done = lines.end() if lines is not None else begins.end()
        if _DIGIT.search(text, begins.end(), done) is not None:  # without one it is no key
            yield begins.start(), done, PRIVATE_KEY
