# ruff: noqa: E501 (tables of sentences)
"""Texts with planted personal data and secrets, for measuring recall and precision. Nothing here is taken from the redactor.

Values come from Faker (five locales), from the standard library and from cryptography; tokens are a service's prefix and random characters.
Each stands in a sentence of its language, in JSON, in JSON inside JSON, in code, in a URL, across line breaks, or with full-width digits.
Beside them stand numbers and ids that are nobody's data.
"""

import base64
import ipaddress
import json
import random
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from faker import Faker

LOCALES = ("en_US", "de_DE", "fr_FR", "es_ES", "pt_BR")
OPEN, CLOSE = "\ue000", "\ue001"  # around a planted value, until its place is known
FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")
ALNUM = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Planted:
    """A text with one value of ``kind`` from ``start`` to ``end``. ``names``: of people that the exchange names."""

    text: str
    kind: str
    form: str
    start: int
    end: int
    names: tuple[str, ...] = ()


SENTENCES: dict[str, dict[str, str]] = {
    "EMAIL_ADDRESS": dict(zip(LOCALES, ("Please write to {}.", "Bitte schreiben Sie an {}.", "Écrivez à {} svp.", "Escriba a {} por favor.", "Escreva para {} por favor."), strict=True)),
    "PHONE_NUMBER": dict(zip(LOCALES, ("Call me at {} today.", "Rufen Sie mich an: {}.", "Mon numéro est le {}.", "Llámeme al {} hoy.", "Me ligue no {} hoje."), strict=True)),
    "CREDIT_CARD": dict(zip(LOCALES, ("I paid with card {}.", "Bezahlt mit Karte {}.", "Payé par carte {}.", "Pagué con la tarjeta {}.", "Paguei com o cartão {}."), strict=True)),
    "IBAN_CODE": dict(zip(LOCALES, ("Refund it to {}.", "Überweisen Sie auf {}.", "Virez sur le compte {}.", "Transfiera a {}.", "Transfira para {}."), strict=True)),
    "IP_ADDRESS": dict(zip(LOCALES, ("It came from {} twice.", "Es kam von {} her.", "Cela venait de {} hier.", "Venía de {} ayer.", "Veio de {} ontem."), strict=True)),
    "US_SSN": dict.fromkeys(LOCALES, "My social security number is {}."),
    "CRYPTO": dict(zip(LOCALES, ("Send it to wallet {}.", "Senden Sie es an {}.", "Envoyez au {}.", "Envíelo a {}.", "Envie para {}."), strict=True)),
    "API_KEY": dict(zip(LOCALES, ("My key {} stopped working.", "Mein Schlüssel {} geht nicht.", "Ma clé {} ne marche pas.", "Mi clave {} no funciona.", "Minha chave {} parou."), strict=True)),
    "PASSWORD": dict(zip(LOCALES, ("My password is {} and it fails.", "Mein Passwort ist {} seit heute.", "Mot de passe : {}", "Mi contraseña es {} y falla.", "Minha senha é {} mas falha."), strict=True)),
    "PRIVATE_KEY": dict.fromkeys(LOCALES, "This is what I have:\n{}\nWhat is wrong?"),
    "PERSON": dict(zip(LOCALES, ("Ask {} about it.", "Fragen Sie {} danach.", "Demandez à {} demain.", "Pregunte a {} mañana.", "Pergunte a {} amanhã."), strict=True)),
}  # fmt: skip
NAMES = {"EMAIL_ADDRESS": "contact", "PHONE_NUMBER": "phone", "CREDIT_CARD": "card", "IBAN_CODE": "account", "IP_ADDRESS": "client_ip",
         "US_SSN": "ssn", "CRYPTO": "wallet", "API_KEY": "api_key", "PASSWORD": "password", "PRIVATE_KEY": "pem", "PERSON": "to"}  # fmt: skip
FORMS = ("sentence", "JSON", "JSON in JSON", "code", "URL", "broken lines", "full-width digits")


class Texts:
    """Repeatable: the same seed gives the same texts."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.fakes = {locale: Faker(locale) for locale in LOCALES}
        for number, fake in enumerate(self.fakes.values()):
            fake.seed_instance(seed + number)
        self._values: dict[str, Callable[[Faker], str]] = {
            "EMAIL_ADDRESS": lambda fake: str(fake.email()),
            "PHONE_NUMBER": lambda fake: str(fake.phone_number()),
            "CREDIT_CARD": lambda fake: self._grouped(str(fake.credit_card_number())),
            "IBAN_CODE": lambda fake: self._grouped(str(fake.iban())),
            "IP_ADDRESS": lambda fake: str(fake.ipv4() if self.rng.random() < 0.6 else ipaddress.ip_address(str(fake.ipv6()))),
            "US_SSN": lambda _: str(self.fakes["en_US"].ssn()),
            "CRYPTO": lambda _: self._wallet(),
            "API_KEY": lambda _: self._token(),
            "PASSWORD": lambda fake: str(fake.password(length=self.rng.randint(8, 16), special_chars=self.rng.random() < 0.5)),
            "PRIVATE_KEY": lambda _: self._pem(),
            "PERSON": lambda fake: f"{fake.first_name()} {fake.last_name()}",
        }
        self.kinds = tuple(self._values)

    def planted(self, kind: str) -> Planted:
        """A text with one value."""
        locale = self.rng.choice(LOCALES)
        value, form = self._values[kind](self.fakes[locale]), self.rng.choice(FORMS)
        names = (value,) if kind == "PERSON" else ()
        if kind == "PERSON" and self.rng.random() < 0.5:
            value = self.rng.choice([value.split()[0], value.split()[-1], value.upper()])
        if form == "full-width digits" and kind not in ("PHONE_NUMBER", "CREDIT_CARD"):
            form = "sentence"
        if form == "broken lines" and kind in ("API_KEY", "PASSWORD", "EMAIL_ADDRESS", "IP_ADDRESS", "CRYPTO"):
            form = "JSON"
        marked = f"{OPEN}{value}{CLOSE}"
        text = f"{self.noise(locale)} {self._in_form(form, kind, locale, marked, names)} {self.noise(locale)}"
        start, end = text.index(OPEN), text.index(CLOSE) - 1
        return Planted(text.replace(OPEN, "").replace(CLOSE, ""), kind, form, start, end, names)

    def noise(self, locale: str) -> str:
        """Words, and numbers that are nobody's data."""
        fake, rng = self.fakes[locale], self.rng
        made: list[Callable[[], str]] = [
            lambda: str(fake.sentence(nb_words=rng.randint(4, 14))),
            lambda: (
                f"order {rng.randrange(10**5)} of 2026-{rng.randint(1, 12):02}-{rng.randint(1, 28):02} at {rng.randint(0, 23)}:{rng.randint(10, 59)}"
            ),
            lambda: f"version {rng.randint(0, 9)}.{rng.randint(0, 30)}.{rng.randint(0, 30)}, {rng.randint(1, 4000)} tokens",
            lambda: f"total: {rng.randint(1, 9999)}.{rng.randint(10, 99)} EUR",
            lambda: f"id {uuid.UUID(int=rng.getrandbits(128))}",
            lambda: f"commit {rng.getrandbits(160):040x}",
            lambda: json.dumps({"max_tokens": rng.randint(1, 4096), "top_p": 0.95, "ids": [rng.randrange(10**4) for _ in range(3)]}),
            lambda: f"for i in range({rng.randint(2, 99)}): total[i] += price[i] * {rng.random():.3f}",
        ]
        return " ".join(rng.choice(made)() for _ in range(rng.randint(1, 3)))

    def _in_form(self, form: str, kind: str, locale: str, marked: str, names: tuple[str, ...]) -> str:
        sentence, name = SENTENCES[kind][locale].format(marked), NAMES[kind]
        if form == "JSON":
            return json.dumps({"n": self.rng.randrange(99), name: marked}, ensure_ascii=False)
        if form == "JSON in JSON":
            return json.dumps({"arguments": json.dumps({name: marked, "limit": 5}, ensure_ascii=False)}, ensure_ascii=False)
        if form == "code":
            return f'{name} = "{marked}"\nsend({name}, retries=3)'
        if form == "URL":
            value = marked.strip(OPEN + CLOSE)
            return f"https://shop.example/find?{name}={OPEN}{quote(value, safe='@:+.') if kind == 'EMAIL_ADDRESS' else value}{CLOSE}&page=2"
        if form == "broken lines":
            return sentence.replace(" ", "\n") if kind != "PRIVATE_KEY" else sentence
        return sentence.translate(FULL_WIDTH) if form == "full-width digits" else sentence

    def _grouped(self, digits: str) -> str:
        gap = self.rng.choice(["", "", " ", "-"])
        return gap.join(digits[at : at + 4] for at in range(0, len(digits), 4)) if gap else digits

    def _wallet(self) -> str:
        alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
        content = b"\x00" + self.rng.randbytes(20)
        number, written = int.from_bytes(content + sha256(sha256(content).digest()).digest()[:4]), ""
        while number:
            number, place = divmod(number, 58)
            written = alphabet[place] + written
        return f"1{written}"

    def _token(self) -> str:
        def some(length: int, alphabet: str = ALNUM) -> str:
            return "".join(self.rng.choice(alphabet) for _ in range(length))

        def encoded(value: object) -> str:
            return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()

        return self.rng.choice(
            [
                lambda: "sk-" + "proj-" + some(48),
                lambda: "sk-ant-" + "api03-" + some(86, ALNUM + "-_") + "AA",
                lambda: "gh" + "p_" + some(36),
                lambda: "github_" + "pat_" + some(22) + "_" + some(59),
                lambda: "gl" + "pat-" + some(20),
                lambda: "AK" + "IA" + some(16, string.ascii_uppercase + "234567"),
                lambda: "xo" + f"xb-{some(12, string.digits)}-{some(12, string.digits)}-{some(24)}",
                lambda: "sk_" + "live_" + some(24),
                lambda: "AI" + "za" + some(35, ALNUM + "-_"),
                lambda: "hf" + "_" + some(34),
                lambda: "np" + "m_" + some(36),
                lambda: "S" + "G." + some(22) + "." + some(43),
                lambda: ".".join([encoded({"alg": "HS256", "typ": "JWT"}), encoded({"sub": some(10), "iat": 1700000000}), some(43)]),
            ]
        )()

    def _pem(self) -> str:
        key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
        key = ec.generate_private_key(ec.SECP256R1()) if self.rng.random() < 0.5 else ed25519.Ed25519PrivateKey.generate()
        form = serialization.PrivateFormat.OpenSSH if self.rng.random() < 0.5 else serialization.PrivateFormat.PKCS8
        return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode().strip()
