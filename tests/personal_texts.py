"""Random texts that hold personal data in many forms, and much that looks like it."""

import random
from hashlib import sha256

import phonenumbers
from faker import Faker

BASE_58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH_32 = ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4")
NUMBERS_OF_COUNTRIES = [
    phonenumbers.format_number(number, form)
    for region in phonenumbers.SUPPORTED_REGIONS
    if (number := phonenumbers.example_number(region)) is not None
    for form in range(4)
]


def crypto_address(rng: random.Random) -> str:
    content = bytes([rng.choice((0, 5))]) + rng.randbytes(20)
    number = int.from_bytes(content + sha256(sha256(content).digest()).digest()[:4])
    encoded = ""
    while number:
        number, place = divmod(number, 58)
        encoded = BASE_58[place] + encoded
    return encoded if content[0] else f"1{encoded}"


def personal(rng: random.Random, fake: Faker) -> str:
    value = str(
        rng.choice(
            [
                fake.ascii_email,
                fake.credit_card_number,
                fake.iban,
                fake.ipv4,
                fake.ipv6,
                fake.ssn,
                lambda: crypto_address(rng),
                lambda: rng.choice(BECH_32),
                lambda: rng.choice(NUMBERS_OF_COUNTRIES),
                lambda: f"::ffff:{fake.ipv4()}/{rng.randrange(130)}",
                lambda: rng.choice(["::1", "fe80::1%eth0", "1::", "a:b:c:d:e:f:1:2", "2001:db8::8a2e:370:7334", "1:2:3:4:5:6:10.0.0.1"]),
                lambda: f"jörg+{rng.randrange(99)}@bücher.example.de",
            ]
        )()
    )
    written = rng.random()
    if written < 0.2:  # in groups
        gap, size = rng.choice([" ", "-", ".", "  ", "\n"]), rng.choice([3, 4])
        return gap.join(value[at : at + size] for at in range(0, len(value), size))
    if written < 0.3:
        return value.translate({ord(digit): rng.choice(["０", "٠", "०"]) for digit in rng.sample("0123456789", 2)})
    return rng.choice([value.upper(), value.lower()]) if written < 0.4 else value


def secret(rng: random.Random) -> str:
    """A secret or a part of one; in pieces, for scanners of repositories."""
    value = "".join(rng.choice("abcXYZ012789_-") for _ in range(rng.choice([8, 20, 36, 60])))
    token = rng.choice(["sk" + "-", "gh" + "p_", "AK" + "IA", "hf" + "_", "xo" + "xb-", "ey" + "J"]) + value
    named = rng.choice(["password", "api_key", "Token", "pwd", "contraseña"]) + rng.choice(["=", ": ", " is ", '="', " "]) + value
    return rng.choice([token, named, "letmein", f"https://u:{value}@h", f"Bearer {value}", "-----BEGIN " + f"PRIVATE KEY-----\n{value}"])


def random_text(rng: random.Random, fake: Faker) -> str:
    def part() -> str:
        kind = rng.random()
        if kind < 0.3:
            return personal(rng, fake)
        if kind < 0.6:
            return "".join(rng.choice("0123456789" * 3 + "abcXYZſK -.:/@+()[]x٣０") for _ in range(rng.randint(1, 40)))
        if kind < 0.75:
            return secret(rng)
        return rng.choice(
            ["order 4521", "std::string", "a[::2]", "12:30:05", "1.2.3", "v10.0.1", "https://a.example", "<A:", '{"n": 41}', "的"]
        )

    return rng.choice([" ", "", ", ", "/", "\n"]).join(part() for _ in range(rng.randint(1, 8)))
