"""One real vLLM for all contract tests of a run."""

from collections.abc import Iterator

import pytest

from tests.served_vllm import running_vllm


@pytest.fixture(scope="session")
def real_vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL. It serves the small model as `base` with our template, which adds tools to the model's own."""
    with running_vllm(tmp_path_factory.mktemp("vllm")) as url:
        yield url
