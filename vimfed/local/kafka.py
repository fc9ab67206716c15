"""A local Kafka broker for demos and tests: one node, KRaft, loopback only.

The jars come from Maven once, into a cache; without Java, Docker serves.
"""

import functools
import hashlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from vimfed.errors import OperatorError
from vimfed.local.child import Child
from vimfed.local.class_archive import archive_of, make_archive, reading_options, writing_options
from vimfed.local.kafka_storage import format_as, is_formatted
from vimfed.process.ports import refuse_port_in_use
from vimfed.process.project_files import cache_dir, project_file

POM = project_file("deploy/kafka/pom.xml")
LOG4J = POM.with_name("log4j2.properties")
CACHE = cache_dir()

DOCKER_IMAGE = "apache/kafka:4.1.2"
MIN_JAVA = 17
_JVM = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""The simplest collector and compiler halve the work of a start, most of a short life's work."""
_CLUSTER_ID = "dmltZmVkLWxvY2FsLWthZg"
_STOP_TIMEOUT = 15.0
_CONTAINER_DATA = "/var/lib/kafka/data"
_CONTAINER_WRITES = ("/opt/kafka/config", "/opt/kafka/logs")
"""Where the image writes at its start: as it is shipped, only its own user 1000 may."""

_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    # One node keeps one copy of everything.
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # The default of 50 partitions each costs files and start-up time, which one node need not pay.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    # A group of one must not wait three seconds for others to join.
    "group.initial.rebalance.delay.ms": "0",
    # Twice a second a controller writes that nothing is new; there is nobody who could lag behind.
    "metadata.max.idle.interval.ms": "0",
    # After a kill -9 the node waits its own old session out before it serves again.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "1000",
}


class LocalKafkaError(OperatorError):
    """The local broker cannot run; the text says why and how to mend it, in one line."""


class JavaMissingError(LocalKafkaError):
    """There is no Java, or it is too old."""


class FetchError(LocalKafkaError):
    """The jars could not be fetched: no Maven, or Maven failed."""


class BrokerDiedError(LocalKafkaError):
    """The broker ended, or was not ready in time."""


class LocalKafka:
    """One broker as a child process.

    ``data_dir`` is kept between runs; it holds the log segments in ``data``, ``broker.log``, and
    what the start writes. The PLAINTEXT listener on ``port`` is always there. ``listeners`` adds
    more, as security protocol to port, e.g. ``{"SASL_SSL": 9094}``, configured by ``properties``,
    which override everything. ``scram_users`` (name to password) are created for SCRAM-SHA-256
    and SCRAM-SHA-512 when a fresh ``data_dir`` is formatted. ``version`` is another Kafka's than
    the POM names, for tests. In a ``with`` block it runs.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int,
        controller_port: int,
        *,
        listeners: Mapping[str, int] | None = None,
        properties: Mapping[str, str] | None = None,
        scram_users: Mapping[str, str] | None = None,
        version: str = "",
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port
        self.controller_port = controller_port
        self._listeners = dict(listeners or {})
        self._properties = dict(properties or {})
        self._scram_users = dict(scram_users or {})
        self._version = version
        self._written_archive: Path | None = None
        self._child: Child | None = None

    @property
    def bootstrap(self) -> str:
        """``host:port`` of the PLAINTEXT listener."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """The broker's log file."""
        return self.data_dir / "broker.log"

    @property
    def child(self) -> Child:
        """The broker's process; RuntimeError before the first start."""
        if self._child is None:
            raise RuntimeError("the broker was not started")
        return self._child

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self, timeout: float = 60.0) -> None:
        """Start the broker and wait until it answers; data of an earlier run is kept.

        Raises LocalKafkaError or PortInUseError where it cannot.
        """
        self.spawn()
        self.wait_until_ready(timeout)

    def spawn(self) -> None:
        """Start the broker without waiting for it.

        Raises LocalKafkaError or PortInUseError where it cannot.
        """
        for port in (self.port, self.controller_port, *self._listeners.values()):
            refuse_port_in_use(port, "Kafka", "kafka.bootstrap")
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self.log.touch()
        except OSError as error:
            raise LocalKafkaError(
                f"Kafka cannot write {error.filename} ({error.strerror}): mend that, or set "
                "another state_dir"
            ) from None
        if shutil.which("java") is None and _docker_engine():
            command = self._docker_command()
        else:
            command = self._java_command(java())
        self._child = Child(command, log=self.log, cwd=self.data_dir)
        self._child.spawn()

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait until the broker answers a metadata request.

        Raises BrokerDiedError where it has ended or does not answer within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while not answers(self.bootstrap):
            self.check_alive()
            if time.monotonic() > deadline:
                self.child.kill()
                raise BrokerDiedError(
                    f"Kafka did not answer on {self.bootstrap} within {timeout:.0f} s; last line "
                    f"of its log: {self.child.last_log_line()!r} (whole log: {self.log})"
                )

    def check_alive(self) -> None:
        """Raise BrokerDiedError if the broker has ended."""
        if not self.child.running:
            raise BrokerDiedError(
                f"Kafka ended with exit code {self.child.returncode}: "
                f"{self.child.last_log_line()!r} (whole log: {self.log})"
            )

    def stop(self) -> None:
        """End the broker in order; it is killed if that takes too long."""
        if self._child is not None:
            self._child.stop(_STOP_TIMEOUT)

    def kill(self) -> None:
        """End the broker at once, as a power failure would."""
        self.child.kill()

    def freeze(self) -> None:
        """Stop the broker in its tracks; its connections stay open and silent."""
        self.child.freeze()

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        self.child.thaw()

    def make_class_archive(self, use: Callable[[], None], timeout: float) -> Path:
        """Return the class archive that starts read; run the broker for it where it is missing.

        ``use`` has the broker load what its clients need; ``timeout`` is how many seconds it may
        take to start, and to end. The archive is not there where it cannot be written. Raises
        LocalKafkaError.
        """
        archive = archive_of(fetch_jars(version=self._version), java(), _told_by(java()))

        def run_broker(written: Path) -> None:
            self._written_archive = written
            self.start(timeout)
            try:
                use()
            finally:
                self.child.stop(timeout)

        make_archive(archive, run_broker)
        return archive

    def _effective_properties(self, host: str, data: str) -> dict[str, str]:
        plain = {"PLAINTEXT": self.port, **self._listeners}
        listening = {**plain, "CONTROLLER": self.controller_port}
        protocols = {"CONTROLLER": "PLAINTEXT", **{name: name for name in plain}}
        return {
            **_PROPERTIES,
            "listeners": ",".join(f"{name}://{host}:{port}" for name, port in listening.items()),
            "advertised.listeners": ",".join(f"{n}://127.0.0.1:{p}" for n, p in plain.items()),
            "listener.security.protocol.map": ",".join(f"{n}:{p}" for n, p in protocols.items()),
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "log.dirs": data,
            **self._properties,
        }

    def _java_command(self, java_path: str) -> Sequence[str]:
        jars = fetch_jars(version=self._version)
        data = self.data_dir / "data"
        properties = self.data_dir / "server.properties"
        properties.write_text(
            "".join(
                f"{key}={_escaped(value)}\n"
                for key, value in self._effective_properties("127.0.0.1", str(data)).items()
            ),
            encoding="utf-8",
        )
        archive = archive_of(jars, java_path, _told_by(java_path))
        common = [*_JVM, "-cp", f"{jars}/*", f"-Dlog4j2.configurationFile={LOG4J}"]
        run = [java_path, *reading_options(archive), *common]
        if not is_formatted(data):
            self._format(run, properties, data, jars)
        if self._written_archive is not None:
            run = [java_path, *writing_options(self._written_archive), *common]
        return [*run, "kafka.Kafka", str(properties)]

    def _format(self, run: Sequence[str], properties: Path, data: Path, jars: Path) -> None:
        if self._scram_users:  # whose credentials are part of what is formatted
            self._run_format(run, properties)
        else:
            template = jars.with_name(f"{jars.name}-formatted-{_CLUSTER_ID}")
            format_as(template, data, lambda: self._run_format(run, properties))

    def _run_format(self, run: Sequence[str], properties: Path) -> None:
        command = [*run, "kafka.tools.StorageTool", "format"]
        command += ["--cluster-id", _CLUSTER_ID, "--config", str(properties)]
        for name, password in self._scram_users.items():
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                command += ["--add-scram", f"{mechanism}=[name={name},password={password}]"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            lines = (done.stdout + done.stderr).strip().splitlines()
            raise BrokerDiedError(
                f"Kafka's storage in {self.data_dir} could not be formatted: "
                f"{lines[-1] if lines else done.returncode}"
            )

    def _docker_command(self) -> Sequence[str]:
        """Return the command that runs the broker in Docker; the image formats its own storage."""
        data = self.data_dir / "data"
        data.mkdir(exist_ok=True)
        # All addresses in the container; only loopback is published.
        properties = self._effective_properties("0.0.0.0", _CONTAINER_DATA)  # noqa: S104
        environment = {"KAFKA_" + k.upper().replace(".", "_"): v for k, v in properties.items()}
        name, user, group = f"vimfed-kafka-{self.port}", os.getuid(), os.getgid()
        _run_quietly("docker", "rm", "--force", name)  # left over by a kill -9
        return [
            "docker",
            "run",
            "--rm",
            f"--name={name}",
            f"--user={user}:{group}",
            f"--volume={data}:{_CONTAINER_DATA}",
            *(f"--tmpfs={folder}:uid={user},gid={group}" for folder in _CONTAINER_WRITES),
            *(
                f"--publish=127.0.0.1:{port}:{port}"
                for port in (self.port, *self._listeners.values())
            ),
            *(f"--env={key}={value}" for key, value in environment.items()),
            f"--env=CLUSTER_ID={_CLUSTER_ID}",
            f"--env=KAFKA_HEAP_OPTS={' '.join(_JVM)}",
            DOCKER_IMAGE,
        ]


def answers(bootstrap: str, timeout: float = 1.0) -> bool:
    """Return whether a broker at ``bootstrap`` (PLAINTEXT) answers a metadata request in time."""
    # librdkafka backs off after a refused connection: a fresh client asks at once.
    client = AdminClient(
        {"bootstrap.servers": bootstrap, "log_level": 0, "socket.timeout.ms": int(timeout * 1000)}
    )
    try:
        return bool(client.list_topics(timeout=timeout).brokers)
    except KafkaException:
        return False


def java() -> str:
    """Return the path of a Java that can run Kafka. Raises JavaMissingError where there is none."""
    path = shutil.which("java")
    remedy = "install it (on Debian: apt-get install default-jre-headless maven), or start Docker"
    if path is None:
        raise JavaMissingError(f"Kafka needs Java {MIN_JAVA} or newer and there is none: {remedy}")
    told = _told_by(path)
    match = re.search(r'version "(\d+)', told)
    if match is None:
        raise JavaMissingError(f"{path} does not tell its version ({told.strip()!r}): {remedy}")
    if int(match[1]) < MIN_JAVA:
        raise JavaMissingError(
            f"Kafka needs Java {MIN_JAVA} or newer, but {path} is {match[1]}: {remedy}"
        )
    return path


@functools.cache
def _told_by(java_path: str) -> str:
    """Return what a Java says of its version."""
    return _run_quietly(java_path, "-version")


def is_fetched(cache: Path = CACHE) -> bool:
    """Return whether what runs Kafka is on this machine: its jars or, without Java, the image."""
    if shutil.which("java") is not None:
        return _jars(cache).exists()
    inspect = ["docker", "image", "inspect", DOCKER_IMAGE]
    return _docker_engine() and (
        subprocess.run(inspect, capture_output=True, check=False).returncode == 0  # noqa: S603
    )


def _jars(cache: Path, version: str = "") -> Path:
    digest = hashlib.sha256(POM.read_bytes() + version.encode()).hexdigest()
    return cache / f"kafka-{digest[:12]}"


def fetch_jars(cache: Path = CACHE, version: str = "") -> Path:
    """Return the folder with Kafka's jars; Maven fetches them when the POM is new.

    ``version`` is that of Kafka, if it is not the POM's. Raises FetchError.
    """
    jars = _jars(cache, version)
    if jars.exists():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise FetchError(
            "Maven fetches Kafka and there is none: install it (on Debian: apt-get install maven)"
        )
    cache.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="kafka-", dir=cache))
    try:
        done = subprocess.run(  # noqa: S603
            [
                maven,
                "--batch-mode",
                "--quiet",
                f"--file={POM}",
                "dependency:copy-dependencies",
                f"-DoutputDirectory={fresh}",
                *([f"-Dkafka.version={version}"] if version else []),
                *([] if _has_home() else [f"-Dmaven.repo.local={cache / 'maven'}"]),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            error = told_by_maven(done.stdout) or done.stderr.strip()
            raise FetchError(
                f"Maven could not fetch Kafka: {error} "
                "(is Maven Central, or a mirror of it, to be reached?)"
            )
        fresh.chmod(0o755)  # what users of one checkout share
        if not jars.exists():  # else another process was faster
            fresh.rename(jars)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return jars


def told_by_maven(output: str) -> str:
    """Return in one line why Maven failed; empty where it does not say.

    Up to Maven 3.8 its first line of errors has the cause, from 3.9 on some of the next ones, up to
    where it refers to its help.
    """
    words: list[str] = []
    for line in output.partition("[ERROR]")[2].splitlines():
        told, is_last, _ = line.removeprefix("[ERROR]").partition("-> [Help")
        words += told.split()
        if is_last or not told.strip():
            break
    return " ".join(words)


def _has_home() -> bool:
    """Return whether the machine knows this user; else Java calls its home "?", a folder here."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True


def _run_quietly(*command: str) -> str:
    done = subprocess.run(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.stdout


def _docker_engine() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    done = subprocess.run([docker, "info"], capture_output=True, check=False)  # noqa: S603
    return done.returncode == 0


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")
