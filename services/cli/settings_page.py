"""``python -m services.cli.settings_page > deploy/docs/configuration.md``: every key of flywheel.yaml, from the settings themselves.

A test holds the page to this.
"""

import sys

from pydantic import BaseModel

from services.settings.known_keys import keys_of, sections

HEAD = """# Configuration

One file, `flywheel.yaml`: the one named with `--config`, else `$FLYWHEEL_CONFIG`, else the one in the working directory. Without a file
every default holds. Each key can be set in the environment too, which wins: `FLYWHEEL__HTTP__API_PORT=8501`. Secrets are in files
(`*_file`) or given as a SHA-256, never in the configuration.

Every start checks the whole file and prints one line for each fault, with path, value, reason and remedy: unknown or renamed keys, wrong
types, values that do not fit together (one port for two processes, an axis that no gate has). `flywheel check-config` does only that.

Each workload has its sections under `workloads.<name>`. In a name, `_seconds`, `_minutes` and `_hours` are the unit, `_share` is
between 0 and 1, other whole numbers are counts. `deploy/demo/flywheel.yaml` is a complete example with a reason for every value.
"""


def page() -> str:
    """Markdown: one table for each section."""
    return HEAD + "".join(_section(section, path) for path, section in sections())


def _section(section: type[BaseModel], path: str) -> str:
    rows = [
        f"| `{key.path.rpartition('.')[2]}` | {key.type} | {'required' if key.required else f'`{key.default}`'} | {key.meaning} |\n"
        for key in keys_of(section, path)
    ]
    if not rows:
        return ""
    text = (section.__doc__ or "").strip()
    return f"\n## `{path or 'top level'}`\n\n{text}\n\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n{''.join(rows)}"


if __name__ == "__main__":
    sys.stdout.write(page())
