"""Real brokers for the tests: RabbitMQ and Kafka as child processes on free loopback ports.

Both have start(), stop(), kill(), freeze() and thaw(), run in a ``with`` block, keep their data
between stop and start, and leave no process behind. Chaos tests make instances of their own;
everything else shares those of the fixtures in conftest.py.
"""

import argparse
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import amqp
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
)
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.cimpl import NewTopic

from vimfed.kafka.rights import Need
from vimfed.local.child import Child
from vimfed.local.kafka import LocalKafka
from vimfed.process.ports import free_ports
from vimfed.settings import KafkaSettings, Secret

START_TIMEOUT = 60.0

KAFKA_VERSION = os.environ.get("TEST_KAFKA", "")
"""Of a Kafka that is not the one of deploy/kafka/pom.xml (make versions)."""
RABBITMQ_ROOT = os.environ.get("TEST_RABBITMQ_ROOT", "")
"""The root of another Debian whose RabbitMQ is run, in a chroot (make versions)."""


class BrokerError(Exception):
    """A broker for the tests does not run; the text says why."""


def new_kafka(
    data_dir: Path,
    *,
    listeners: Mapping[str, int] | None = None,
    properties: Mapping[str, str] | None = None,
    scram_users: Mapping[str, str] | None = None,
) -> LocalKafka:
    """Return an unstarted Kafka on free ports; the arguments are LocalKafka's own."""
    port, controller_port = free_ports(2)
    return LocalKafka(
        data_dir,
        port,
        controller_port,
        listeners=listeners,
        properties=properties,
        scram_users=scram_users,
        version=KAFKA_VERSION,
    )


_ENUM_NAMES = {"DescribeConfigs": "DESCRIBE_CONFIGS"}


class GuardedKafka:
    """A Kafka with ACLs: whoever logs in may do what was granted; without a login, everything.

    Every name of ``users`` is a SCRAM user whose password is PASSWORD.
    """

    PASSWORD = "s3cret"

    def __init__(self, data_dir: Path, users: Sequence[str]) -> None:
        (self._port,) = free_ports(1)
        self.kafka = new_kafka(
            data_dir,
            listeners={"SASL_PLAINTEXT": self._port},
            properties={
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS",
                "sasl.enabled.mechanisms": "SCRAM-SHA-512",
                "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                ),
            },
            scram_users=dict.fromkeys(users, self.PASSWORD),
        )

    def __enter__(self) -> Self:
        self.kafka.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kafka.stop()

    def login(self, user: str, **options: Any) -> KafkaSettings:
        """Return how ``user`` connects; the options are further settings of ``[kafka]``."""
        return KafkaSettings(
            bootstrap=f"127.0.0.1:{self._port}",
            security_protocol="SASL_PLAINTEXT",
            username=user,
            password=Secret(self.PASSWORD),
            **options,
        )

    def grant(self, user: str, needs: Iterable[Need]) -> None:
        """Let ``user`` do what is needed."""
        acls = [each for need in needs for each in _acls(user, need)]
        admin = self._admin()  # whose futures end with it
        for done in admin.create_acls(acls).values():
            done.result(20)

    def revoke(self, user: str, need: Need) -> None:
        """Take these rights away again."""
        filters = [
            AclBindingFilter(
                acl.restype,
                acl.name,
                acl.resource_pattern_type,
                acl.principal,
                acl.host,
                acl.operation,
                acl.permission_type,
            )
            for acl in _acls(user, need)
        ]
        admin = self._admin()
        for done in admin.delete_acls(filters).values():
            assert done.result(20), f"{user} had no {need}"

    def execute(self, script: str) -> int:
        """Do what commands of kafka-topics.sh and kafka-acls.sh say; return how many there were.

        Their Java classes are not among the jars, and would take seconds for each.
        """
        parser = argparse.ArgumentParser()
        for name in ("--create", "--add", "--if-not-exists"):
            parser.add_argument(name, action="store_true")
        for name in ("--config", "--operation"):
            parser.add_argument(name, action="append", default=[])
        for name in ("--bootstrap-server", "--topic", "--group", "--allow-principal"):
            parser.add_argument(name)
        for name in ("--partitions", "--replication-factor"):
            parser.add_argument(name, type=int)
        commands = [shlex.split(line) for line in script.splitlines() if not line.startswith("#")]
        admin = self._admin()
        for tool, *words in commands:
            told = parser.parse_args(words)
            if tool == "kafka-topics.sh":
                topic = NewTopic(
                    told.topic,
                    num_partitions=told.partitions,
                    replication_factor=told.replication_factor,
                    config=dict(each.split("=") for each in told.config),
                )
                admin.create_topics([topic])[told.topic].result(20)
            else:
                assert tool == "kafka-acls.sh"
                user = told.allow_principal.removeprefix("User:")
                operations = tuple(told.operation)
                if told.topic:
                    self.grant(user, [Need("topic", told.topic, operations, "")])
                else:
                    self.grant(user, [Need("group", told.group, operations, "")])
        return len(commands)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.kafka.bootstrap})


def _acls(user: str, need: Need) -> list[AclBinding]:
    return [
        AclBinding(
            ResourceType[need.kind.upper()],
            need.name,
            ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            AclOperation[_ENUM_NAMES.get(operation, operation.upper())],
            AclPermissionType.ALLOW,
        )
        for operation in need.operations
    ]


_INSIDE = """
    root=$1
    shift
    mkdir -p "$root$PWD"
    mount --bind "$PWD" "$root$PWD"
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    exec chroot "$root" "$@"
"""
"""Becomes a program of another root that sees the folder; the mounts are gone when it ends."""


_COOKIE = ".erlang.cookie"


class RabbitMQ:
    """One RabbitMQ node with its own epmd, run straight from Debian's package.

    ``config`` adds lines to rabbitmq.conf, e.g. ``{"listeners.ssl.1": "127.0.0.1:5671"}``; the
    plain listener on ``port`` is always there. A node that ``joins`` another, which runs, is in
    one cluster with it from its first start on, and asks that one's epmd.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        config: Mapping[str, str] | None = None,
        joins: "RabbitMQ | None" = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.port, self._dist_port, self._epmd_port = free_ports(3)
        self._config = dict(config or {})
        self._joins = joins
        if joins is not None:
            self._epmd_port = joins._epmd_port
            self._config |= {
                "cluster_formation.peer_discovery_backend": "classic_config",
                "cluster_formation.classic_config.nodes.1": joins.node,
                "cluster_formation.classic_config.nodes.2": self.node,
            }
        self._epmd: Child | None = None
        self._child: Child | None = None

    @property
    def node(self) -> str:
        """The node's name."""
        return f"rabbit{self.port}@localhost"

    @property
    def url(self) -> str:
        """The oslo.messaging transport URL of the plain listener."""
        return f"rabbit://guest:guest@127.0.0.1:{self.port}/"

    @property
    def log(self) -> Path:
        """The node's log file."""
        return self.data_dir / "rabbit.log"

    @property
    def child(self) -> Child:
        """The node's process; RuntimeError before the first start."""
        if self._child is None:
            raise RuntimeError("the broker was not started")
        return self._child

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start the node and wait until it takes connections; its data is kept.

        Raises BrokerError where it does not come up within ``timeout`` seconds.
        """
        self.spawn()
        self.wait_until_ready(timeout)

    def spawn(self) -> None:
        """Start the node without waiting for it."""
        server = rabbitmq_server()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        environment = self._environment()
        if self._joins is not None:
            self._share_cookie(self._joins)
        elif self._epmd is None or not self._epmd.running:
            # In the foreground, as a child of ours: a daemon that erl starts would stay for ever.
            epmd = shutil.which("epmd") or "epmd"
            self._epmd = Child([epmd, "-address", "127.0.0.1"], env=environment, log=self.log)
            self._epmd.spawn()
            self._wait_for_epmd()
        command = self._inside(str(server))
        self._child = Child(command, env=environment, log=self.log, cwd=self.data_dir)
        self._child.spawn()

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until the node takes an AMQP connection. Raises BrokerError."""
        deadline = time.monotonic() + timeout
        while not self._answers():
            if not self.child.running or time.monotonic() > deadline:
                raise BrokerError(
                    f"RabbitMQ is not up (exit code {self.child.returncode}): "
                    f"{self.child.last_log_line()!r} (whole log: {self.log})"
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """End the node in order, and its epmd; they are killed if that takes too long."""
        if self._child is not None:
            self._child.stop(15.0)
        if self._epmd is not None:
            self._epmd.stop()

    def kill(self) -> None:
        """End the node at once, as a power failure would."""
        self.child.kill()

    def freeze(self) -> None:
        """Stop the node in its tracks; its connections stay open and silent."""
        self.child.freeze()

    def thaw(self) -> None:
        """Let a frozen node go on."""
        self.child.thaw()

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl on this node and return what it prints. Raises BrokerError."""
        done = subprocess.run(
            self._inside(str(rabbitmq_server().with_name("rabbitmqctl")), *arguments),
            env=self._environment(),
            cwd=self.data_dir,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BrokerError(f"rabbitmqctl {arguments[0]}: {done.stderr or done.stdout}")
        return done.stdout

    def _inside(self, *command: str) -> list[str]:
        """Return the command that becomes this one in RABBITMQ_ROOT, where that is set."""
        if not RABBITMQ_ROOT:
            return list(command)
        return ["unshare", "--mount", "sh", "-euc", _INSIDE, "sh", RABBITMQ_ROOT, *command]

    def _answers(self) -> bool:
        try:
            with amqp.Connection(host=f"127.0.0.1:{self.port}", connect_timeout=2, read_timeout=5):
                return True
        except OSError:
            return False

    def _share_cookie(self, other: "RabbitMQ") -> None:
        """Take the secret by which the nodes of a cluster know each other."""
        cookie = self.data_dir / _COOKIE
        if not cookie.exists():
            cookie.write_bytes((other.data_dir / _COOKIE).read_bytes())
            cookie.chmod(0o400)

    def _wait_for_epmd(self) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._epmd_port), timeout=1).close()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def _environment(self) -> dict[str, str]:
        lines = {
            "listeners.tcp.1": f"127.0.0.1:{self.port}",
            "log.console.level": "info",
            **self._config,
        }
        config = self.data_dir / "rabbitmq.conf"
        config.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
        plugins = self.data_dir / "enabled_plugins"
        plugins.write_text("[].\n")
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.data_dir),  # _COOKIE lies there
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the node instead of its parent
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_BASE": str(self.data_dir),
            "RABBITMQ_MNESIA_BASE": str(self.data_dir / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.data_dir),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.data_dir / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.data_dir / "generated"),
            "RABBITMQ_PID_FILE": str(self.data_dir / "rabbit.pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }


def rabbitmq_server() -> Path:
    """Return the server's own script: Debian's wrapper on PATH insists on the user rabbitmq.

    Raises BrokerError where RabbitMQ is not installed.
    """
    scripts = Path("/usr/lib/rabbitmq/lib")
    inside = Path(RABBITMQ_ROOT + str(scripts)) if RABBITMQ_ROOT else scripts
    for script in sorted(inside.glob("rabbitmq_server-*/sbin/rabbitmq-server")):
        return scripts / script.relative_to(inside)
    raise BrokerError(
        "the tests need RabbitMQ: apt-get install rabbitmq-server (make test does so as root)"
    )
