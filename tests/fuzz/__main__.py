"""``python -m tests.fuzz NAME SECONDS FOLDER``: drives one target by coverage, from its seeds and what earlier runs kept in FOLDER.

Ends with 0 when nothing was found. A finding is written to FOLDER as ``crash-...``: make it a seed, then correct its kind.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["flywheel", "services", "schemas"], enable_loader_override=False):
    from tests.fuzz.targets import SEEDS, run

LONGEST = 4_096  # bytes of an input


def main(name: str, seconds: str, folder: Path) -> None:
    """Does not return: the fuzzer ends the process."""
    corpus = folder / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)

    def one(data: bytes) -> None:
        run(name, data)

    options = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=20", "-seed=1", "-rss_limit_mb=4096", "-close_fd_mask=0"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={corpus}/", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
