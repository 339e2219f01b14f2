"""Texts on which a search takes long: a unit repeated."""

UNITS = {
    "line breaks": "\n",
    "returns": "\r\n",
    "spaces": " ",
    "tabs": "\t",
    "digits": "7",
    "at signs": "@",
    "dots": ".",
    "quotes": '"',
    "open brackets": "(",
    "open square brackets": "[",
    "open angle brackets": "<",
    "open tags": "<a ",
    "backslashes": "\\",
    "letters": "a",
    "capitals": "A",
    "addresses": "a@a.",
    "dates": "1/2/",
    "numbers": "1-",
    "foreign numbers": "+1 ",
    "decimals": "1.",
    "groups": "4111 ",
    "account numbers": "AB12",
    "hexadecimals": "1:",
    "bullets": "- \n",
    "pseudonyms": "<EMAIL_ADDRESS:3f2a9c01",
    "data urls": "data:a/",
    "fences": "```\n",
    "functions": "function ",
}
OF_REDACTION = UNITS | {
    "dotted addresses": "1.2.3.4 ",
    "colons": "::",
    "tokens": "token=",
    "passwords": "password: a1",
    "bearers": "bearer ",
    "headers": "authorization:",
    "prefixes": "sk-",
    "web tokens": "eyJ",
    "key frames": "-----BEGIN PRIVATE KEY-----",
    "dashes": "-",
    "URLs": "://a:b",
}


def hostile(unit: str, length: int) -> str:
    return (unit * (length // len(unit) + 1))[:length] + "@ 1"
