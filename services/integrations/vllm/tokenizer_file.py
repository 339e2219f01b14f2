"""Counts tokens with the tokenizer's file of a model, without the training libraries.

In: the model's folder. Out: a function from text to token ids, as vLLM makes them from a rendered chat.
"""

from pathlib import Path

from flywheel.errors import CannotRun
from flywheel.training_set.token_rows import Encode


def read_encoder(model: Path) -> Encode:
    """Raises CannotRun where the file or the library ``tokenizers`` is missing."""
    file = model / "tokenizer.json"
    try:
        from tokenizers import Tokenizer  # here: few processes count tokens, and its vocabulary takes memory
    except ImportError:
        remedy = "Install the extra 'train' where the retrain scheduler runs."
        raise CannotRun("the library tokenizers is not installed", where=str(model), remedy=remedy) from None
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001  the library raises Exception itself
        raise CannotRun(f"the tokenizer cannot be read: {error}", where=str(file), remedy="Restore the model's files.") from None
    return lambda text: tuple(tokenizer.encode(text, add_special_tokens=False).ids)
