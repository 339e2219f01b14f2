"""The stores and rules of the alert desk, built from settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from flywheel.alerts.lifecycle import AlertPolicy
from flywheel.ids import WorkloadId, derive
from services.integrations.webhooks.notifier import WebhookNotifier
from services.ports.alerts import AlertLedger, Notifier
from services.ports.drift import DriftLedger
from services.ports.journal import Journal
from services.settings import Settings, Webhook, Workload
from services.settings.policies import build_policies
from services.settings.secrets import secret_from
from services.stores.database import open_ledger
from services.stores.database_changes import Changes
from services.stores.ledger.alerts import LedgerAlerts
from services.stores.ledger.drift import LedgerDrift
from services.stores.ledger.journal import LedgerJournal


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """``name`` is derived from the URL; delivered notifications are recorded under it."""

    name: str
    notifier: Notifier


@dataclass(frozen=True, kw_only=True)
class AlertRules:
    """The alert settings of one workload."""

    policy: AlertPolicy
    protected: tuple[str, ...] = ()
    receivers: tuple[Receiver, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AlertDeskParts:
    """The stores and rules that the loops use."""

    drift: DriftLedger
    alerts: AlertLedger
    workloads: Mapping[WorkloadId, AlertRules]


def alert_desk_parts(settings: Settings) -> AlertDeskParts:
    """Opens the stores. Raises InvalidSettings for a webhook's secret that cannot be read."""
    engine = open_ledger(settings.ledger_url)
    return AlertDeskParts(
        drift=LedgerDrift(engine, topic=settings.kafka.topics.drift),
        alerts=LedgerAlerts(engine, topic=settings.kafka.topics.alerts),
        workloads={WorkloadId(name): _rules(name, workload) for name, workload in settings.workloads.items()},
    )


def _rules(name: str, workload: Workload) -> AlertRules:
    alerts = workload.alerts
    return AlertRules(
        policy=build_policies(workload).alerts,
        protected=workload.slices.protected,
        receivers=tuple(
            _receiver(webhook, where=f"workloads.{name}.alerts.webhooks.{index}.secret_file")
            for index, webhook in enumerate(alerts.webhooks)
        ),
    )


def _receiver(webhook: Webhook, *, where: str) -> Receiver:
    secret = secret_from(webhook.secret_file, where=where) if webhook.secret_file is not None else None
    return Receiver(name=derive("webhook", webhook.url), notifier=WebhookNotifier(webhook.url, secret=secret))


def ledger_changes(settings: Settings) -> Changes:
    """Signals changes of the ledger, which wake the loops."""
    return Changes(settings.ledger_url)


def open_journal(settings: Settings) -> Journal:
    """Where a flow that stands is told."""
    return LedgerJournal(open_ledger(settings.ledger_url))
