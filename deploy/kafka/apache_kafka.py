"""Apache Kafka on this machine: a node on loopback, for the streaming tests and for trying the daemon on it.

``apache_kafka.py --data FOLDER`` brings the packages of pom.xml to var/kafka with Maven, once, formats the folder if it is new, and becomes
the broker. Needs Java 17 and Maven; the standard library is enough for the rest. With SCRAM the password stands in the arguments of the
program that formats the folder, for a second: use one that protects nothing else.
"""

import argparse
import base64
import fcntl
import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
FOLDER = Path(__file__).parents[2] / "var" / "kafka"
MISSING = 3  # the exit code where Java, Maven or the packages cannot be had


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--data", type=Path, default=FOLDER / "data")
    parser.add_argument("--sasl", choices=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"), help="clients must name --user and its password")
    parser.add_argument("--user", default="flywheel")
    parser.add_argument("--password-file", type=Path, help="the password on its first line")
    parser.add_argument("--tls", type=Path, help="a PEM file with the broker's key and certificates: clients connect by TLS")
    parser.add_argument("--cluster-id", help="22 characters of base64; the same for all nodes of a cluster. Default: a new one")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a line of server.properties; may be repeated")
    become_broker(parser.parse_args(), libraries=fetched())


def fetched() -> Path:
    """The folder of the packages. Two processes at a time take turns."""
    for program, package in (("java", "openjdk-17-jre-headless"), ("mvn", "maven")):
        if shutil.which(program) is None:
            refuse(f"there is no {program} on this machine (Debian: {package})")
    libraries, stamp = FOLDER / "libs", FOLDER / "made-from"
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != digest:
            shutil.rmtree(libraries, ignore_errors=True)
            command = ("mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={libraries}")
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                said = (done.stdout.strip() or done.stderr.strip() or "no message").splitlines()
                refuse(f"Maven gave no Apache Kafka: {said[0][:300]}")
            stamp.write_text(digest)
    return libraries


def become_broker(options: argparse.Namespace, *, libraries: Path) -> None:
    """Does not return."""
    data: Path = options.data
    data.mkdir(parents=True, exist_ok=True)
    password = options.password_file.read_text().splitlines()[0] if options.sasl else ""
    properties = data / "server.properties"
    properties.touch(mode=0o600)  # with SASL it holds the password
    properties.write_text("\n".join(configuration(options, password=password)) + "\n")
    java = ("java", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", str(libraries / "*"))
    if not (data / "log" / "meta.properties").exists():
        cluster = options.cluster_id or base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=").replace("-", "A")
        format_it = [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
        if options.sasl and options.sasl.startswith("SCRAM"):
            format_it += ["--add-scram", f"{options.sasl}=[name={options.user},password={password}]"]
        done = subprocess.run(format_it, capture_output=True, text=True, check=False)
        if done.returncode:
            refuse(f"the folder {data} cannot be formatted: {(done.stderr or done.stdout).strip()[-500:]}", code=1)
    if sys.stdout.isatty():
        address = f"127.0.0.1:{options.port}"
        sys.stdout.write(f"Apache Kafka on {address}, data in {data}. Ctrl-C ends it.\n")
        sys.stdout.write(f"Set `kafka.bootstrap: {address}` in flywheel.yaml, then run `flywheel topics create`.\n")
        sys.stdout.flush()
    os.execvp(  # noqa: S606 (a fixed program, no shell)
        "java", [*java[:1], "-Xmx512m", *java[1:], "kafka.Kafka", str(properties)]
    )


def configuration(options: argparse.Namespace, *, password: str) -> list[str]:
    """Lines of server.properties. Clients meet the listener CLIENTS; the broker itself uses the others, on free ports of loopback."""
    inside, controller = _free_ports(2)
    protocol = ("SASL_" if options.sasl else "") + ("SSL" if options.tls else "PLAINTEXT")
    lines = [
        "process.roles=broker,controller",
        "node.id=1",
        f"controller.quorum.voters=1@127.0.0.1:{controller}",
        f"listeners=CLIENTS://127.0.0.1:{options.port},INSIDE://127.0.0.1:{inside},CONTROLLER://127.0.0.1:{controller}",
        f"advertised.listeners=CLIENTS://127.0.0.1:{options.port},INSIDE://127.0.0.1:{inside}",
        "controller.listener.names=CONTROLLER",
        "inter.broker.listener.name=INSIDE",
        f"listener.security.protocol.map=CONTROLLER:PLAINTEXT,INSIDE:PLAINTEXT,CLIENTS:{protocol}",
        f"log.dirs={options.data / 'log'}",
        "offsets.topic.replication.factor=1",
        "transaction.state.log.replication.factor=1",
        "transaction.state.log.min.isr=1",
        "group.initial.rebalance.delay.ms=0",
        "auto.create.topics.enable=false",
        "num.partitions=1",
    ]
    if options.sasl:
        module = "plain.PlainLoginModule" if options.sasl == "PLAIN" else "scram.ScramLoginModule"
        known = f' username="broker" password="{secrets.token_hex(8)}" user_{options.user}="{password}"' if options.sasl == "PLAIN" else ""
        lines += [
            f"listener.name.clients.sasl.enabled.mechanisms={options.sasl}",
            f"listener.name.clients.{options.sasl.lower()}.sasl.jaas.config=org.apache.kafka.common.security.{module} required{known};",
        ]
    if options.tls:
        lines += ["listener.name.clients.ssl.keystore.type=PEM", f"listener.name.clients.ssl.keystore.location={options.tls}"]
    return [*lines, *options.set]


def refuse(why: str, *, code: int = MISSING) -> None:
    sys.stderr.write(f"{why}\n")
    sys.exit(code)


def _free_ports(number: int) -> list[int]:
    """Held until all are known, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


if __name__ == "__main__":
    main()
