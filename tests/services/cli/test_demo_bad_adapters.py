"""The demo's bad adapters: which factors are chosen, and that leftovers of a killed process are deleted."""

import sys
from pathlib import Path

import pytest

from services.cli.demo.make_bad_adapters import _chosen, main

HARMS = (0.12, 0.4)


@pytest.mark.parametrize(
    ("measured", "chosen"),
    [
        ([], []),
        ([(2.5, 0.0), (3.0, 0.11)], []),
        ([(2.5, 0.2)], [2.5]),
        ([(2.5, 0.2), (3.0, 0.4)], [2.5, 3.0]),
        ([(2.5, 0.5), (3.0, 0.6)], [2.5, 3.0]),  # the first factor does both, and each harm gets its own
        ([(2.5, 0.5), (3.0, 0.1)], [2.5]),  # the greater harm never has the smaller factor
        ([(2.5, -0.1), (3.0, 0.2), (4.0, 0.1), (5.0, 0.45), (6.0, 0.9)], [3.0, 5.0]),
    ],
)
def test_each_harm_gets_the_smallest_factor_and_greater_harm_a_greater_one(
    measured: list[tuple[float, float]], chosen: list[float]
) -> None:
    assert _chosen(measured, HARMS) == chosen


def test_a_factor_that_does_exactly_the_harm_counts() -> None:
    assert _chosen([(2.5, 0.12)], [0.12]) == [2.5]


def test_leftovers_of_a_killed_process_are_deleted_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapters, config = tmp_path / "data" / "adapters", tmp_path / "flywheel.yaml"
    config.write_text(f"data_dir: {tmp_path / 'data'}")
    kept = [adapters / "router-1" / ".edited-inside", adapters / ".other", adapters / "my.measured-x", tmp_path / "data" / ".measured-x"]
    left = [adapters / ".measured-router-1", adapters / ".edited-router-2"]
    for folder in (*kept, *left):
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_text("weights")
    elsewhere = adapters / ".edited-linked"
    elsewhere.symlink_to(kept[1])
    monkeypatch.setattr(sys, "argv", ["make_bad_adapters", "--config", str(config), "--adapter", "router-1"])
    assert main() == 0
    assert not any(folder.exists() for folder in left)
    assert all((folder / "adapter_model.safetensors").exists() for folder in kept)


def test_a_missing_adapters_folder_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "flywheel.yaml"
    config.write_text(f"data_dir: {tmp_path / 'data'}")
    monkeypatch.setattr(sys, "argv", ["make_bad_adapters", "--config", str(config), "--adapter", "router-1"])
    assert main() == 0
