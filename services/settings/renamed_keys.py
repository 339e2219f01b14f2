"""Keys of earlier versions. A file that still has one is refused, with the old name, the new name and what to write."""

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


REMOVED: Mapping[tuple[str, ...], str] = {
    ("workloads", "*", "system_prompt"): "requests.system_prompt",
    ("workloads", "*", "sampling", "temperature"): "requests.defaults.temperature",
}
"""Path of a key that no process read -> the key of the workload that now does what it seemed to do."""


def take_old_keys(content: dict[str, object]) -> list[Fault]:
    """A fault for every renamed or removed key; the key is removed from ``content``."""
    return [
        fault
        for path in (*RENAMED, *REMOVED)
        for fault in _taken(content, path, new=RENAMED.get(path), effective=REMOVED.get(path), prefix="")
    ]


def _taken(section: object, path: tuple[str, ...], *, new: str | None, effective: str | None, prefix: str) -> list[Fault]:
    if not isinstance(section, dict):
        return []
    first, rest = path[0], path[1:]
    if rest:
        names = list(section) if first == "*" else [first] if first in section else []
        return [fault for name in names for fault in _taken(section[name], rest, new=new, effective=effective, prefix=f"{prefix}{name}.")]
    if first not in section:
        return []
    value, where = section.pop(first), f"{prefix}{first}"
    if new is None:
        remedy = f"Delete it. For its effect write `{effective}` under {'.'.join(where.split('.')[:2])}."
        return [Fault(where=where, reason=f"`{first}` was removed: it had no effect", remedy=remedy)]
    written = f"{new}: {value}" if isinstance(value, int | float | str) else new
    reason, remedy = f"`{first}` is now called `{new}`", f"Write `{written}` under {prefix.rstrip('.')}."
    return [Fault(where=where, reason=reason, remedy=remedy, compared_with=(f"{prefix}{new}",))]
