"""Loads and unloads adapters, so that a server holds those that routes and releases need, and checks their weights.

In: routes and releases. Out: for each adapter the verdict on its served weights: unknown, applied, or not servable.
A load that answers 200 is not enough: an adapter counts as applied only after the server's log-probabilities of known answers
were compared.
Does not decide what follows for its release (``next_action``).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from flywheel.errors import CannotRun, InvalidInput
from flywheel.gate.weight_parity import WeightParity, check_weight_parity
from flywheel.ids import BASE, AdapterName
from flywheel.retraining.training_run import AdapterBundle, ProbeItem
from flywheel.rollout.desired_adapters import slots
from flywheel.rollout.next_action import Served
from flywheel.rollout.release import NotLoaded, Release, Route
from services.ports.rollout import AdapterServer

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class ServedWeights:
    """Whether one adapter is served as it was trained, and how that is known."""

    served: Served
    reason: str
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the server should hold for one workload."""

    route: Route | None
    releases: Sequence[Release]
    bundles: Mapping[AdapterName, AdapterBundle]
    probe_items: int


class Replica:
    """``reconcile`` is called by one thread; ``healthy`` and ``served_weights`` may be read by another."""

    def __init__(
        self,
        *,
        server: AdapterServer,
        read_probe: Callable[[str], tuple[ProbeItem, ...]],
        why_not_servable: Callable[[str], tuple[str, ...]],
        drain: timedelta,
        lora_slots: int,
    ) -> None:
        self._server, self._read_probe, self._why_not_servable = server, read_probe, why_not_servable
        self._drain, self._lora_slots = drain, lora_slots
        self._checked: dict[AdapterName, ServedWeights] = {}
        self.healthy = False

    def served_weights(self, adapter: AdapterName) -> ServedWeights:
        """The base needs no check: adapters are compared with it."""
        if not self.healthy:
            return ServedWeights(served=Served.UNKNOWN, reason="the server does not answer")
        if adapter == BASE:
            return ServedWeights(served=Served.APPLIED, reason="the base model")
        return self._checked.get(adapter, ServedWeights(served=Served.UNKNOWN, reason="waits to be loaded and checked"))

    def reconcile(self, wanted: Sequence[Wanted], *, now: datetime) -> None:
        """Safe to repeat. Where the server stops answering, the remaining adapters stay unknown."""
        try:
            self._reconcile(wanted, now=now)
        except CannotRun as error:
            if self.healthy:  # logged once per outage
                log.warning("The server does not answer; releases wait.", action="server_away", reason=str(error))
            self.healthy = False

    def _reconcile(self, wanted: Sequence[Wanted], *, now: datetime) -> None:
        if not self._server.healthy():
            raise CannotRun("the server is not healthy", where="serving", remedy="See vLLM's log.")
        listed = self._server.listed()
        for name in [name for name, weights in self._checked.items() if weights.served is Served.APPLIED and name not in listed]:
            del self._checked[name]  # the server was restarted: it must be loaded and checked again
        self.healthy = True
        free = self._lora_slots - len(listed)
        for one in wanted:
            plan = slots(route=one.route, releases=one.releases, listed=listed, drain=self._drain, now=now, free=free)
            free -= len(plan.load)
            for name in plan.wanted:
                if name not in self._checked:
                    self._checked[name] = self._check_weights(name, one, loaded=name in listed)
            for name in plan.unload:
                self._server.unload(name)
                self._checked.pop(name, None)
                log.info("An adapter was unloaded.", action="adapter_unloaded", adapter=name)

    def _check_weights(self, name: AdapterName, wanted: Wanted, *, loaded: bool) -> ServedWeights:
        bundle = wanted.bundles.get(name)
        if bundle is None:
            return ServedWeights(served=Served.NOT_SERVABLE, reason="there is no such adapter in the ledger")
        try:
            if reasons := self._why_not_servable(bundle.path):
                raise NotLoaded(f"not servable: {'; '.join(reasons)}", where=name, remedy="Train again.")
            items = self._read_probe(bundle.path)[: wanted.probe_items]
            if not all(math.isfinite(value) for item in items for value in item.replay):
                raise NotLoaded("not servable: with it the base model computes NaN or infinity", where=name, remedy="Train again.")
            if not loaded:
                self._server.load(name, bundle.path)
                log.info("An adapter was loaded.", action="adapter_loaded", adapter=name, path=bundle.path)
            asked = [(item.prompt_ids, item.answer_ids) for item in items]
            verdict = check_weight_parity(
                served=self._server.log_probabilities(name, asked),
                base=self._server.log_probabilities(BASE, asked),
                replay=[item.replay for item in items],
            )
        except (NotLoaded, InvalidInput) as error:
            log.warning("An adapter cannot be served.", action="adapter_not_servable", adapter=name, reason=str(error))
            return ServedWeights(served=Served.NOT_SERVABLE, reason=str(error))
        evidence = {
            "verdict": verdict.verdict.value,
            "mean_to_base": verdict.mean_to_base,
            "mean_to_replay": verdict.mean_to_replay,
            "tokens": verdict.tokens,
        }
        log.info("An adapter was probed.", action="adapter_probed", adapter=name, reason=verdict.reason)
        served = Served.APPLIED if verdict.verdict is WeightParity.TRAINED else Served.NOT_SERVABLE
        return ServedWeights(served=served, reason=verdict.reason, evidence=evidence)
