"""Secrets by their published formats, and what only looks like one."""

import random
import string

import pytest

from flywheel.traffic.secrets import may_hold_secret, names_secret, secrets_in

SOME = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY"
TOKENS = [  # in two parts each: scanners of repositories would report them
    "sk-" + "proj-" + SOME + SOME,
    "sk-" + "ant-api03-" + SOME,
    "gh" + "p_" + SOME + "abcd",
    "github" + "_pat_" + SOME,
    "gl" + "pat-" + SOME[:20],
    "AK" + "IA" + "IOSFODNN7EXAMPLE",
    "xo" + "xb-123456789012-" + SOME,
    "sk_" + "live_" + SOME,
    "AI" + "za" + SOME + "abc",
    "hf" + "_" + SOME,
    "np" + "m_" + SOME + "abcd",
    "SG" + "." + SOME[:22] + "." + SOME + SOME[:11],
    "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0In0." + SOME,
]
KEY = "-----BEGIN " + "PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ\nd3Zk9w==\n-----END PRIVATE KEY-----"


def secrets(text: str) -> list[str]:
    """In order; of overlapping ones the longest."""
    places = sorted(secrets_in(text), key=lambda place: (place[0] - place[1], place))
    kept: list[tuple[int, int]] = []
    for start, end, _ in places:
        if not any(start < other_end and other_start < end for other_start, other_end in kept):
            kept.append((start, end))
    return [text[start:end] for start, end in sorted(kept)]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("around", ["my key is {} .", '{{"a": "{}"}}', "x={}&y=1", "line\\n{}\\n", "({})", "`{}`,"])
def test_a_token_is_found_whole(token: str, around: str) -> None:
    assert secrets(around.format(token)) == [token]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("password=hunter2", "hunter2"),
        ('"password": "%1#y6Bez1y"', "%1#y6Bez1y"),
        ('password = "$E971Krq"', "$E971Krq"),
        ("senha é *yT)LUnG9 mas", "*yT)LUnG9"),
        ("password=letmein", "letmein"),
        ("Password: Sommer2024!", "Sommer2024!"),
        ("mein Passwort ist hunter22.", "hunter22"),
        ("mot de passe : azerty99", "azerty99"),
        ("mi contraseña es abc12345", "abc12345"),
        ("minha senha é abc12345", "abc12345"),
        ('{"db_password": "correct-horse"}', "correct-horse"),
        ('{\\"password\\": \\"hunter2x\\"}', "hunter2x"),
        ("DB_PASSWORD_PROD='s3cr3t!'", "s3cr3t!"),
        ("aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"),
        ("OPENAI_API_KEY=abc123def456", "abc123def456"),
        ("Authorization: Bearer abcdef0123456789xyz", "abcdef0123456789xyz"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("curl -H 'authorization: token abcdefgh'", "abcdefgh"),
        ("postgres://app:s3cret@db.internal/x", "s3cret"),
        (f"token={SOME * 20}", SOME * 20),
        (f"see {KEY} .", KEY),
        (f"see {KEY[:-25]}", KEY[:-26]),
    ],
)
def test_a_secret_behind_its_name_is_found(text: str, secret: str) -> None:
    assert secrets(text) == [secret]


@pytest.mark.parametrize(
    "text",
    [
        "I forgot my password, please reset it",
        "Password: please enter it again",
        "max_tokens=4096, prompt_tokens: 123456",
        '{"token": "string", "password": "Password"}',
        "token = get_token(request)",
        "connect(password=user_password)",
        "password=os.environ",
        "password=${DB_PASSWORD}",
        "password=$DB_PASSWORD, password={{ vault_password_1 }}, password=%PASSWORD%, password=********",
        "secret_file: /run/secrets/db1",
        "token_url=https://example.org/oauth2",
        "token_expiry=2026-11-30T10:00:00Z",
        "a task-based risk-management-approach-2024-for-everybody",
        "the primary key: customer_id",
        "a bearer of good news, 12 of them",
        "https://example.org:8080/a@b",
        "commit 3f2a9c0112345678901234567890123456789012",
        "-----BEGIN CERTIFICATE-----",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert secrets(text) == []


def test_keys_of_json_that_name_a_secret() -> None:
    assert all(map(names_secret, ["password", "DB_PASSWORD", "apiKey", "client_secret", "access_token"]))
    assert not any(map(names_secret, ["name", "content", "keyboard" * 20]))


def random_text(rng: random.Random) -> str:
    def part() -> str:
        return rng.choice(
            [
                lambda: rng.choice(TOKENS)[rng.randrange(3) : rng.randint(5, 60)],
                lambda: rng.choice(["password", "PASSWD", "token", "api_key", "secretKey", "Bearer", "authorization", "contraseña", "key"]),
                lambda: rng.choice(["=", ":", " is ", " ist ", '="', ': "', '\\"', " ", "://", "@", "\n", "K", "ſ", "İ"]),
                lambda: "".join(rng.choice(string.ascii_letters + string.digits + "!-_./") for _ in range(rng.randint(1, 30))),
                lambda: KEY[: rng.randint(5, len(KEY))],
                lambda: "letmein",
            ]
        )()

    return "".join(part() for _ in range(rng.randint(1, 6)))


def test_the_cheap_test_rules_out_no_secret() -> None:
    rng, found = random.Random(5), 0
    for _ in range(20_000):
        text = random_text(rng)
        held = bool(secrets_in(text))
        assert may_hold_secret(text) or not held, text
        found += held
    assert found > 4_000
