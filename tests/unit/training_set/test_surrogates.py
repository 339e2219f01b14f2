import re

from flywheel.training_set.surrogates import MAKERS, PSEUDONYM, with_surrogates

TEXTS = (
    "write to <EMAIL_ADDRESS:0a1b2c3d> or <EMAIL_ADDRESS:99999999>",
    "I wrote to <EMAIL_ADDRESS:0a1b2c3d>, call <PHONE_NUMBER:0a1b2c3d>",
)


def test_one_pseudonym_is_one_surrogate_everywhere_and_two_are_two() -> None:
    first, second = with_surrogates(TEXTS, seed="example-1")
    addresses = re.findall(r"\S+@[\w.-]+\w", first)
    assert len(set(addresses)) == 2
    assert addresses[0] in second
    assert not PSEUDONYM.search(first + second)


def test_the_same_seed_gives_the_same_surrogates_and_another_seed_others() -> None:
    assert with_surrogates(TEXTS, seed="a") == with_surrogates(TEXTS, seed="a")
    assert with_surrogates(TEXTS, seed="a") != with_surrogates(TEXTS, seed="b")


def test_a_text_more_does_not_change_the_surrogates_before_it() -> None:
    assert with_surrogates([*TEXTS, "and <IP_ADDRESS:00000000>"], seed="a")[:2] == with_surrogates(TEXTS, seed="a")


def test_text_without_pseudonyms_stays_as_it_is() -> None:
    texts = ("<EMAIL_ADDRESS> and <email:0a1b2c3d> and <b>", "")
    assert with_surrogates(texts, seed="a") == texts


def test_every_kind_has_a_surrogate_unknown_ones_too() -> None:
    for kind in [*MAKERS, "FUTURE_KIND"]:
        (text,) = with_surrogates([f"<{kind}:0a1b2c3d>"], seed="a")
        assert text
        assert kind not in text
