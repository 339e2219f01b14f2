"""The Faust app that hosts the recorder. Faust starts, stops and supervises; the recorder has its own consumer group.

It uses no Faust agent: an agent is twenty times slower than a batch, and it acknowledges events that failed.
"""

import asyncio
from pathlib import Path
from typing import Any

import faust
from mode import Service

from services.traffic_windower.consume_partitions import TOPIC_ID_CHECK_SECONDS, Recorder


def build_app(recorder: Recorder, *, broker: str, credentials: Any, data_dir: str) -> tuple[Any, Any]:
    """The app and the service inside it. ``__main__`` ends the process when the service fails."""
    Path(data_dir).mkdir(parents=True, exist_ok=True)
    app = faust.App(
        "flywheel-traffic-windower",
        broker=broker,
        broker_credentials=credentials,
        store="memory://",
        datadir=data_dir,
        web_enabled=False,
        topic_disable_leader=True,
    )
    app.producer_only = True  # without agents a Faust consumer has no topics and crashes
    service = RecorderService(recorder)
    app.service(service)
    return app, service


class RecorderService(Service):  # type: ignore[misc]
    """Runs the recorder's steps until it is asked to stop. An error ends it."""

    def __init__(self, recorder: Recorder, **options: Any) -> None:
        super().__init__(**options)
        self.recorder = recorder

    async def on_start(self) -> None:
        await self.recorder.start()

    @Service.task  # type: ignore[untyped-decorator]
    async def _record(self) -> None:
        while not self.should_stop:
            await self.recorder.step()

    @Service.task  # type: ignore[untyped-decorator]
    async def _check_topic_id(self) -> None:
        while not self.should_stop:
            await self.sleep(TOPIC_ID_CHECK_SECONDS)
            if not self.should_stop:
                await self.recorder.check_topic_id()
                await self.recorder.count_behind()

    async def on_stop(self) -> None:
        await asyncio.shield(self.recorder.stop())
