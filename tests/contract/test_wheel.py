"""The built wheel contains what it needs: schemas, topics, migrations, runbooks, pages."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_an_installed_wheel_opens_its_ledgers_in_an_empty_directory(tmp_path: Path) -> None:
    built, installed, empty = tmp_path / "built", tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(built), str(ROOT)], check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(installed), str(wheel)], check=True, capture_output=True)
    config = empty / "flywheel.yaml"
    config.write_text(yaml.safe_dump({"data_dir": str(empty / "var"), "workloads": {"router": {"alias": "router"}}}))
    script = (
        "from pathlib import Path; from services.settings import load; from services.stores.database import open_ledger, open_traffic;"
        "from services.cli.migrate.command import migrate;"
        "from deploy import deploy_dir; import schemas, services;"
        f"assert Path(services.__file__).is_relative_to({str(installed)!r}), services.__file__;"
        "migrate(None, Path('flywheel.yaml')); s = load(Path('flywheel.yaml'));"
        "open_ledger(s.ledger_url); open_traffic(s.traffic_url); schemas.schema('traffic/traffic.v1');"
        "assert (deploy_dir() / 'kafka' / 'topics.yaml').exists() and (deploy_dir() / 'runbooks' / 'drift.md').exists();"
        "from importlib.resources import files;"
        "assert (files('services.cli.report') / 'pages' / 'report.html').is_file();"
        "assert (files('services.cli.demo') / 'pages' / 'demo_report.html').is_file()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
