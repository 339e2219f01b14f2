"""Keys that had another name once. A file that still uses one is refused, with the old name, the new name and what to write."""

from collections.abc import Mapping

from services.settings.faults import Fault

RENAMED: Mapping[tuple[str, ...], str] = {
    ("workloads", "*", "watch", "pages_a_day"): "alarms_a_day",
    ("workloads", "*", "watch", "retest_hours"): "late_data_hours",
    ("workloads", "*", "watch", "watch_seconds"): "after_promotion_seconds",
    ("workloads", "*", "watch", "ks_floor"): "ks_minimum_effect",
    ("workloads", "*", "watch", "variation_floor"): "variation_minimum_effect",
    ("workloads", "*", "watch", "rate_floor"): "rate_minimum_effect",
    ("workloads", "*", "release", "hold_back_share"): "holdout_share",
    ("workloads", "*", "release", "hold_back_hours"): "holdout_hours",
}
"""Path of the old key (``*`` is any name) -> name of the new one, in the same section."""


def take_renamed_keys(content: dict[str, object]) -> list[Fault]:
    """A fault for every renamed key; the key is removed from ``content``."""
    return [fault for path, new in RENAMED.items() for fault in _taken(content, path, new, "")]


def _taken(section: object, path: tuple[str, ...], new: str, prefix: str) -> list[Fault]:
    if not isinstance(section, dict):
        return []
    first, rest = path[0], path[1:]
    if rest:
        names = list(section) if first == "*" else [first] if first in section else []
        return [fault for name in names for fault in _taken(section[name], rest, new, f"{prefix}{name}.")]
    if first not in section:
        return []
    value = section.pop(first)
    written = f"{new}: {value}" if isinstance(value, int | float | str) else new
    return [
        Fault(
            where=f"{prefix}{first}",
            reason=f"`{first}` is now called `{new}`",
            remedy=f"Write `{written}` under {prefix.rstrip('.')}.",
            compared_with=(f"{prefix}{new}",),
        )
    ]
