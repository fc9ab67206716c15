"""Settings: one TOML file, every scalar also by environment, unknown keys refused by name.

``VIMFED_KAFKA__BOOTSTRAP`` overrides ``bootstrap`` in ``[kafka]``;
``VIMFED_VIMS__<VIM_ID>__TRANSPORT_URL`` overrides ``transport_url`` of that cloud (its vim_id in
capitals, every other character than a letter or a digit written as ``_``), and
``VIMFED_DMAAP__OUTPUTS__<NAME>__PASSWORD`` that of an output. A key whose name ends in
``_file`` names a file that holds the secret.
"""

import difflib
import os
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv6Address
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

import msgspec
from msgspec import Meta

from vimfed.errors import UsageError
from vimfed.model.identity import vim_id_of

ENV_PREFIX = "VIMFED_"
NO_SETTINGS = frozenset({"VIMFED_CONFIG"})
"""Variables that begin so and are no settings."""
DEFAULT_DMAAP_TOPIC = "unauthenticated.VIM_VM_EVENTS"
MOST_PORT = 65535
SHORTEST_SECRET = 16
"""Characters that a token or a secret of the HTTP API has at least."""
EVENTS_RETENTION = 7 * 24 * 3600
"""Seconds for which the events topic keeps a record."""

Format = Literal["payload", "cloudevents", "ves"]


class SettingsError(UsageError):
    """The settings cannot be used; the text says which key and how to mend it."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings file."""


S = TypeVar("S", bound=_Section)


class KafkaSettings(_Section, frozen=True, kw_only=True):
    """``[kafka]``: the cluster that carries the job's own topics."""

    bootstrap: Annotated[str, Meta(description="host:port of brokers, comma-separated")] = (
        "127.0.0.1:9092"
    )
    local: Annotated[
        bool,
        Meta(
            description="for demos: vimfed run starts a broker of its own at bootstrap, a port of "
            "127.0.0.1; its controller takes the next port, its data lie in state_dir/kafka"
        ),
    ] = False
    security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        Meta(description="how to connect"),
    ] = "PLAINTEXT"
    ca_file: Annotated[
        str, Meta(description="PEM file of the authority that signed the brokers' certificates")
    ] = ""
    cert_file: Annotated[str, Meta(description="PEM file of the client's certificate")] = ""
    key_file: Annotated[str, Meta(description="PEM file of the client's key")] = ""
    sasl_mechanism: Annotated[
        Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"], Meta(description="SASL mechanism")
    ] = "SCRAM-SHA-512"
    username: Annotated[str, Meta(description="SASL user")] = ""
    password: Annotated[str, Meta(description="SASL password (better: password_file)")] = ""
    password_file: Annotated[str, Meta(description="file that holds the SASL password")] = ""
    topic_prefix: Annotated[
        str, Meta(description="first word of the names of all topics", pattern=r"^[A-Za-z0-9._-]+$")
    ] = "vimfed"
    partitions: Annotated[
        int,
        Meta(
            description="partitions of notifications, changelog and events; bounds the number of "
            "workers that share the load, and cannot be changed later",
            ge=1,
            le=1000,
        ),
    ] = 8
    replication: Annotated[
        int, Meta(description="replicas of each topic (3 in production)", ge=1)
    ] = 1
    min_insync_replicas: Annotated[
        int, Meta(description="replicas that must acknowledge a write (2 in production)", ge=1)
    ] = 1
    compression: Annotated[
        Literal["none", "gzip", "snappy", "lz4", "zstd"],
        Meta(
            description="how bridges and workers compress what they write to the job's own topics, "
            "by batch; outputs are not compressed"
        ),
    ] = "zstd"


class DmaapOutput(_Section, frozen=True, kw_only=True):
    """``[[dmaap.outputs]]``: one place where events are published."""

    name: Annotated[
        str,
        Meta(
            description="names the output's progress (its consumer group): keep it",
            pattern=r"^[A-Za-z0-9.-]+$",
        ),
    ] = "dmaap"
    url: Annotated[
        str,
        Meta(
            description="kafka://host:port/topic (several brokers comma-separated), or the Message "
            "Router's http(s)://host:port/events/topic"
        ),
    ]
    format: Annotated[Format, Meta(description="what a message looks like (docs/outputs.md)")] = (
        "payload"
    )
    vim_event: Annotated[
        bool, Meta(description="add the object vim_event (id, kind, phase, ...) to the payload")
    ] = True
    ves_kinds: Annotated[
        list[str],
        Meta(description="format ves: kinds whose end raises a fault too, such as POWER_OFF"),
    ] = []
    timeout: Annotated[
        float,
        Meta(description="seconds after which an attempt to deliver counts as failed", gt=0),
    ] = 20.0
    security_protocol: Annotated[
        Literal["", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        Meta(
            description="how to connect to Kafka; empty: as [kafka] says, with its certificates "
            "and credentials"
        ),
    ] = ""
    ca_file: Annotated[
        str, Meta(description="PEM file of the authority that signed the servers' certificates")
    ] = ""
    cert_file: Annotated[str, Meta(description="PEM file of the client's certificate")] = ""
    key_file: Annotated[str, Meta(description="PEM file of the client's key")] = ""
    sasl_mechanism: Annotated[
        Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"], Meta(description="SASL mechanism")
    ] = "SCRAM-SHA-512"
    username: Annotated[
        str, Meta(description="SASL user, or the Message Router's; empty there: no authentication")
    ] = ""
    password: Annotated[str, Meta(description="their password (better: password_file)")] = ""
    password_file: Annotated[str, Meta(description="file that holds the password")] = ""
    gzip: Annotated[
        bool, Meta(description="Message Router: send application/cambria-zip, compressed")
    ] = False

    @property
    def is_kafka(self) -> bool:
        """Whether it is a Kafka cluster; else it is a Message Router."""
        return urlsplit(self.url).scheme == "kafka"

    @property
    def topic(self) -> str:
        """The topic's name."""
        return urlsplit(self.url).path.strip("/").removeprefix("events/")


class DmaapSettings(_Section, frozen=True, kw_only=True):
    """``[dmaap]``: where the events go, and the publishers' own HTTP endpoints."""

    host: Annotated[
        str, Meta(description="address on which publishers serve /metrics, /healthz and /readyz")
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(
            description="port of the first output's publisher, the others take those above it; "
            "0: any free one, for tests",
            ge=0,
            le=65000,
        ),
    ] = 6070
    give_up_after: Annotated[
        float,
        Meta(
            description="seconds since an event's arrival after which it is not tried again, but "
            "dead-lettered; by default half of the events' retention",
            gt=0,
            le=EVENTS_RETENTION,
        ),
    ] = EVENTS_RETENTION / 2
    outputs: Annotated[
        list[DmaapOutput],
        Meta(description=f"by default topic {DEFAULT_DMAAP_TOPIC} on the cluster of [kafka]"),
    ] = []


class VimSettings(_Section, frozen=True, kw_only=True):
    """``[[vims]]``: one cloud."""

    cloud_owner: Annotated[
        str, Meta(description="ONAP's cloud_owner, without _ and /", min_length=1)
    ]
    cloud_region_id: Annotated[
        str, Meta(description="ONAP's cloud_region_id, without /", min_length=1)
    ]
    transport_url: Annotated[
        str,
        Meta(
            description="oslo.messaging transport URL of the cloud's notifications: "
            "rabbit://user:password@host:5672/vhost (several hosts comma-separated) or kafka://host:9092"
        ),
    ] = ""
    transport_url_file: Annotated[str, Meta(description="file that holds transport_url")] = ""
    topics: Annotated[
        tuple[str, ...], Meta(description="nova's notification topics", min_length=1)
    ] = ("notifications", "versioned_notifications")
    exchange: Annotated[
        str, Meta(description="nova's control_exchange, where the notification queues are bound")
    ] = "nova"
    pool: Annotated[
        str,
        Meta(
            description="name of our own queue (RabbitMQ) or consumer group (Kafka), so that other "
            "consumers, such as ceilometer, lose nothing to us",
            min_length=1,
        ),
    ] = "vimfed"
    durable_queues: Annotated[
        bool,
        Meta(
            description="make our queue durable: what waits in it survives a restart of RabbitMQ, "
            "whatever nova's own queues are"
        ),
    ] = True
    quorum_queues: Annotated[
        bool, Meta(description="make our queue a quorum queue, replicated over a cluster's nodes")
    ] = False
    durable_exchange: Annotated[
        bool,
        Meta(
            description="make the exchange durable where nova has not made it yet: as nova's "
            "amqp_durable_queues or rabbit_quorum_queue; one that exists is left as it is"
        ),
    ] = False
    prefetch: Annotated[
        int,
        Meta(
            description="messages that are on the way to Kafka at most; half of them make the "
            "largest batch",
            ge=2,
            le=10000,
        ),
    ] = 1000
    batch_timeout: Annotated[
        float,
        Meta(
            description="seconds between two batches at least: what comes in quick succession "
            "shares one",
            gt=0,
            le=5,
        ),
    ] = 0.01
    heartbeat: Annotated[
        int, Meta(description="seconds after which a silent RabbitMQ counts as dead", ge=2)
    ] = 60
    consumer_timeout: Annotated[
        float,
        Meta(
            description="RabbitMQ's own consumer_timeout in seconds; while Kafka is away, the "
            "listener is remade when two thirds of it have passed",
            gt=0,
        ),
    ] = 1800.0
    tls: Annotated[bool, Meta(description="connect to RabbitMQ or Kafka over TLS")] = False
    ca_file: Annotated[
        str, Meta(description="PEM file of the authority that signed the broker's certificate")
    ] = ""
    cert_file: Annotated[str, Meta(description="PEM file of the client's certificate")] = ""
    key_file: Annotated[str, Meta(description="PEM file of the client's key")] = ""
    sasl_mechanism: Annotated[
        Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"],
        Meta(description="SASL mechanism of a kafka:// URL that names a user"),
    ] = "SCRAM-SHA-512"
    auth_url: Annotated[
        str,
        Meta(
            description="the cloud's Keystone, https://keystone:5000/v3: nova's API is polled; "
            "empty: it is not"
        ),
    ] = ""
    username: Annotated[str, Meta(description="Keystone user that polls")] = ""
    password: Annotated[str, Meta(description="its password (better: password_file)")] = ""
    password_file: Annotated[str, Meta(description="file that holds the password")] = ""
    project_name: Annotated[str, Meta(description="project to which the user logs in")] = ""
    user_domain_name: Annotated[str, Meta(description="domain of the user")] = "Default"
    project_domain_name: Annotated[str, Meta(description="domain of the project")] = "Default"
    application_credential_id: Annotated[
        str, Meta(description="application credential, in place of user and project")
    ] = ""
    application_credential_secret: Annotated[
        str, Meta(description="its secret (better: application_credential_secret_file)")
    ] = ""
    application_credential_secret_file: Annotated[
        str, Meta(description="file that holds the secret")
    ] = ""
    region_name: Annotated[
        str, Meta(description="region of the compute endpoint; empty: the catalogue has but one")
    ] = ""
    interface: Annotated[
        Literal["public", "internal", "admin"], Meta(description="which of its endpoints to use")
    ] = "public"
    api_ca_file: Annotated[
        str,
        Meta(
            description="PEM file of the authority that signed Keystone's and nova's certificates; "
            "empty: the system's authorities"
        ),
    ] = ""
    all_projects: Annotated[
        bool,
        Meta(description="poll the servers of all projects, which takes an admin; false: its own"),
    ] = True
    poll_interval: Annotated[
        float,
        Meta(
            description="seconds between two polls; 0: 30 without a transport_url, 600 with one, "
            "where polling only finds what nova's senders lost",
            ge=0,
            le=86400,
        ),
    ] = 0.0
    compare_interval: Annotated[
        float,
        Meta(
            description="seconds between two comparisons of all known instances with the polled "
            "cloud, the first at the start: what is gone is told as deleted; 0: never",
            ge=0,
        ),
    ] = 86400.0
    poll_timeout: Annotated[
        float, Meta(description="seconds that the API has for an answer", gt=0, le=600)
    ] = 30.0

    @property
    def seconds_between_polls(self) -> float:
        """``poll_interval``, or what it is by default."""
        return self.poll_interval or (600.0 if self.transport_url else 30.0)

    @property
    def vim_id(self) -> str:
        """ONAP's vim_id of this cloud."""
        return vim_id_of(self.cloud_owner, self.cloud_region_id)


class BridgeSettings(_Section, frozen=True, kw_only=True):
    """``[bridge]``: the bridge's own HTTP endpoint, /metrics, /healthz and /readyz."""

    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[
        int, Meta(description="port to listen on; 0: any free one, for tests", ge=0, le=65535)
    ] = 6065
    stuck_after: Annotated[
        float,
        Meta(description="seconds without a sign of life after which a listener is stuck", ge=10),
    ] = 60.0


class FilterSettings(_Section, frozen=True, kw_only=True):
    """``[filter]``: which events are published without a subscription of their own."""

    enabled: Annotated[
        bool, Meta(description="false: only what subscriptions ask for is published")
    ] = True
    output: Annotated[str, Meta(description="name of the output; empty: every output")] = ""
    clouds: Annotated[list[str], Meta(description="vim_ids; empty: every cloud")] = []
    kinds: Annotated[
        list[str], Meta(description="kinds such as DELETE or POWER_OFF; empty: every kind")
    ] = []
    phases: Annotated[
        list[Literal["start", "end", "error"]], Meta(description="phases; empty: every phase")
    ] = []
    tenants: Annotated[list[str], Meta(description="tenant ids; empty: every tenant")] = []


class WorkerSettings(_Section, frozen=True, kw_only=True):
    """``[worker]``: the stream worker."""

    store: Annotated[
        Literal["rocksdb", "memory"], Meta(description="where the instances table lives")
    ] = "rocksdb"
    session_timeout: Annotated[
        float,
        Meta(description="seconds without a heartbeat after which Kafka gives a worker up", ge=6),
    ] = 10.0
    standby_replicas: Annotated[
        int, Meta(description="workers that keep a warm copy of each partition", ge=0)
    ] = 1
    poll_records: Annotated[
        int, Meta(description="records per fetched batch at most", ge=1, le=10000)
    ] = 500
    deleted_retention: Annotated[
        int, Meta(description="seconds that a deleted instance stays visible to queries", ge=0)
    ] = 86400
    stuck_after: Annotated[
        float,
        Meta(
            description="seconds without progress, while records wait, after which a worker says "
            "that it needs a restart",
            ge=1,
        ),
    ] = 60.0


class WebUser(_Section, frozen=True, kw_only=True):
    """``[[web.auth.users]]``: who may log in, by a password (Basic) or by a bearer token."""

    name: Annotated[str, Meta(description="user name, without a colon", pattern=r"^[^:]+$")]
    password: Annotated[
        str,
        Meta(
            description="password, or its hash as vimfed hash-password makes it (better: "
            "password_file)"
        ),
    ] = ""
    password_file: Annotated[str, Meta(description="file that holds the password")] = ""
    token: Annotated[
        str,
        Meta(description="bearer token, 16 characters at least, random (better: token_file)"),
    ] = ""
    token_file: Annotated[str, Meta(description="file that holds the token")] = ""
    role: Annotated[
        Literal["reader", "writer", "admin"],
        Meta(
            description="reader: queries and live events; writer: subscriptions and notifications, "
            "too; admin: everything"
        ),
    ] = "reader"
    clouds: Annotated[
        list[str],
        Meta(
            description="vim_ids of the clouds that the user may see, * matches anything; empty: "
            "every cloud"
        ),
    ] = []


class KeystoneSettings(_Section, frozen=True, kw_only=True):
    """``[web.auth.keystone]``: tokens of OpenStack's Keystone, sent as X-Auth-Token."""

    url: Annotated[
        str, Meta(description="Keystone's URL, without /v3; empty: its tokens are not accepted")
    ] = ""
    ca_file: Annotated[
        str, Meta(description="PEM file of the authority that signed its certificate")
    ] = ""
    username: Annotated[
        str,
        Meta(
            description="account that validates the tokens; empty: each token validates itself, "
            "which Keystone's policy allows by default"
        ),
    ] = ""
    password: Annotated[str, Meta(description="its password (better: password_file)")] = ""
    password_file: Annotated[str, Meta(description="file that holds the password")] = ""
    user_domain: Annotated[str, Meta(description="name of the account's domain")] = "Default"
    project: Annotated[str, Meta(description="name of the account's project")] = "service"
    project_domain: Annotated[str, Meta(description="name of the project's domain")] = "Default"
    reader_roles: Annotated[
        tuple[str, ...], Meta(description="Keystone's roles that make a reader here")
    ] = ()
    writer_roles: Annotated[tuple[str, ...], Meta(description="those that make a writer")] = ()
    admin_roles: Annotated[tuple[str, ...], Meta(description="those that make an admin")] = (
        "admin",
    )
    clouds: Annotated[
        list[str],
        Meta(
            description="vim_ids of the clouds whose Keystone it is, the only ones that its users "
            "may see; * matches anything; empty: every cloud"
        ),
    ] = []
    timeout: Annotated[float, Meta(description="seconds that Keystone has for an answer", gt=0)] = (
        5.0
    )
    cache_seconds: Annotated[
        float,
        Meta(
            description="seconds for which Keystone's word on a token holds, if it does not expire "
            "before: as long, a token that was revoked is accepted",
            ge=0,
        ),
    ] = 60.0


class WebAuthSettings(_Section, frozen=True, kw_only=True):
    """``[web.auth]``: who may use the HTTP API; without users and Keystone: who reaches it."""

    allow_anonymous: Annotated[
        bool,
        Meta(
            description="let whoever reaches it do everything, although it listens on more than "
            "loopback: where the network keeps strangers out"
        ),
    ] = False
    peer_secret: Annotated[
        str,
        Meta(
            description="by which the workers know each other, the same for all, 16 characters at "
            "least; needed with users or Keystone (better: peer_secret_file)"
        ),
    ] = ""
    peer_secret_file: Annotated[str, Meta(description="file that holds the secret")] = ""
    users: Annotated[list[WebUser], Meta(description="who may log in")] = []
    keystone: KeystoneSettings = KeystoneSettings()

    @property
    def is_on(self) -> bool:
        """Whether callers have to log in."""
        return bool(self.users or self.keystone.url)


class WebSettings(_Section, frozen=True, kw_only=True):
    """``[web]``: the HTTP API of each worker."""

    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Meta(description="port to listen on", ge=1, le=65535)] = 6066
    prefix: Annotated[
        str, Meta(description="path before /v0 and /v1", pattern=r"^/[^?#]*[^/?#]$")
    ] = "/api/multicloud"
    canonical_url: Annotated[
        str,
        Meta(
            description="URL under which the other workers reach this one; empty: "
            "http(s)://host:port, for host 0.0.0.0 with the address of this machine's, container's "
            "or pod's own name"
        ),
    ] = ""
    allowed_hosts: Annotated[
        list[Annotated[str, Meta(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]*]+)(:\d+)?$")]],
        Meta(
            description="names, each with or without a port, by which browsers reach the API "
            "through a proxy that passes on another Host; without a login they are answered as "
            "127.0.0.1 is"
        ),
    ] = []
    live_clients: Annotated[
        int, Meta(description="clients that may follow one worker's live events at once", ge=0)
    ] = 2500
    ingest_rate: Annotated[
        float,
        Meta(
            description="notifications and bare states a second that one caller may push to one "
            "worker",
            gt=0,
        ),
    ] = 5000.0
    cert_file: Annotated[
        str, Meta(description="PEM file of the server's certificate; with it, HTTPS is served")
    ] = ""
    key_file: Annotated[str, Meta(description="PEM file of its key; empty: in cert_file")] = ""
    ca_file: Annotated[
        str,
        Meta(
            description="PEM file of the authority that signed the workers' certificates, by which "
            "they know each other"
        ),
    ] = ""
    auth: WebAuthSettings = WebAuthSettings()

    @property
    def scheme(self) -> str:
        """Of its URLs: http or https."""
        return "https" if self.cert_file else "http"


class GatewayUser(_Section, frozen=True, kw_only=True):
    """``[[gateway.users]]``: who may use topics that are not open."""

    name: Annotated[str, Meta(description="user name, or API key of X-CambriaAuth", min_length=1)]
    password: Annotated[str, Meta(description="password or secret (better: password_file)")] = ""
    password_file: Annotated[str, Meta(description="file that holds the password")] = ""
    publish: Annotated[
        list[str], Meta(description="topics to which the user may publish; * matches anything")
    ] = []
    subscribe: Annotated[
        list[str], Meta(description="topics that the user may read; * matches anything")
    ] = []


class GatewaySettings(_Section, frozen=True, kw_only=True):
    """``[gateway]``: the Message Router's REST API in front of Kafka."""

    enabled: Annotated[
        bool, Meta(description="vimfed run starts a gateway beside the other processes")
    ] = False
    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Meta(description="port to listen on", ge=1, le=65535)] = 3904
    output: Annotated[
        str,
        Meta(description="name of the output whose cluster is served; empty: the first Kafka one"),
    ] = ""
    users: Annotated[
        list[GatewayUser],
        Meta(description="without users every topic is open; unauthenticated.* always are"),
    ] = []


class LogSettings(_Section, frozen=True, kw_only=True):
    """``[log]``: log records on standard error."""

    level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Meta(description="least level")
    ] = "INFO"
    format: Annotated[
        Literal["text", "json"], Meta(description="for people (text) or for programs (json)")
    ] = "text"


class Settings(_Section, frozen=True, kw_only=True):
    """The whole settings file."""

    state_dir: Annotated[
        Path, Meta(description="folder of everything that is kept between runs")
    ] = Path(".vimfed")
    kafka: KafkaSettings = KafkaSettings()
    dmaap: DmaapSettings = DmaapSettings()
    vims: Annotated[list[VimSettings], Meta(description="the clouds")] = []
    bridge: BridgeSettings = BridgeSettings()
    filter: FilterSettings = FilterSettings()
    worker: WorkerSettings = WorkerSettings()
    web: WebSettings = WebSettings()
    gateway: GatewaySettings = GatewaySettings()
    log: LogSettings = LogSettings()

    def outputs(self) -> list[DmaapOutput]:
        """Return the configured outputs, or the default one on the cluster of ``[kafka]``."""
        return self.dmaap.outputs or [
            DmaapOutput(url=f"kafka://{self.kafka.bootstrap}/{DEFAULT_DMAAP_TOPIC}")
        ]

    def publisher_port(self, output: DmaapOutput) -> int:
        """Return the port of the publisher of ``output``; 0: any free one.

        They count upwards from dmaap.port in the order of the outputs.
        """
        names = [each.name for each in self.outputs()]
        return self.dmaap.port and self.dmaap.port + names.index(output.name)


def load_settings(path: Path | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read, override by environment, resolve ``_file`` keys and validate.

    ``path`` None means defaults and environment alone. Raises SettingsError.
    """
    tree = _read_toml(path) if path is not None else {}
    _refuse_unknown_keys(tree, Settings, "")
    sources = [str(path)] if path is not None else []
    if _apply_environment(tree, environ):
        sources.append("environment")
    try:
        settings = msgspec.convert(tree, Settings, strict=False, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{' and '.join(sources)}: {error}") from None
    settings = _resolve_secret_files(settings)
    for check in (_check_kafka, _check_vims, _check_outputs, _check_web):
        check(settings)
    return settings


def _decode_path(_type: type[Path], value: str) -> Path:
    return Path(value)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors write a BOM
    except FileNotFoundError:
        raise SettingsError(
            f"no settings file {path}: name one with --config, or make one: vimfed sample-settings "
            "> vimfed.toml"
        ) from None
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None


def section_type(annotation: Any) -> type[_Section] | None:
    """Return the section type in ``annotation``: itself, or that of a list's entries."""
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is list:
        annotation = typing.get_args(annotation)[0]
    if isinstance(annotation, types.GenericAlias):
        return None
    return annotation if isinstance(annotation, type) and issubclass(annotation, _Section) else None


def _refuse_unknown_keys(tree: Any, section: type[_Section], where: str) -> None:
    if not isinstance(tree, dict):
        return  # msgspec says what was expected here
    hints = typing.get_type_hints(section, include_extras=True)
    for key, value in tree.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0)
            raise SettingsError(f"unknown key {where}{key}: did you mean {where}{near[0]}?")
        inner = section_type(hints[key])
        for entry in value if isinstance(value, list) else [value]:
            if inner is not None:
                _refuse_unknown_keys(entry, inner, f"{where}{key}.")


def _environment_name(vim_id: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", vim_id.upper())


class _Entries(typing.NamedTuple):
    """A list of sections, whose entries the environment reaches by name."""

    section: type[_Section]
    name_of: Callable[[Mapping[str, Any]], str]
    unknown: str


_LISTS = {
    "VIMS": _Entries(
        VimSettings,
        lambda vim: vim_id_of(vim.get("cloud_owner", ""), vim.get("cloud_region_id", "")),
        "no cloud in [[vims]] has that vim_id",
    ),
    "DMAAP__OUTPUTS": _Entries(
        DmaapOutput, lambda output: output.get("name", "dmaap"), "no output has that name"
    ),
    "WEB__AUTH__USERS": _Entries(
        WebUser, lambda user: user.get("name", ""), "no user has that name"
    ),
    "GATEWAY__USERS": _Entries(
        GatewayUser, lambda user: user.get("name", ""), "no user has that name"
    ),
}


def _apply_environment(tree: dict[str, Any], environ: Mapping[str, str]) -> bool:
    """Write each ``VIMFED_SECTION__KEY`` of ``environ`` into ``tree``; return whether any is."""
    names = sorted(name for name in environ if name.startswith(ENV_PREFIX))
    names = [name for name in names if name not in NO_SETTINGS]
    for name in names:
        value = environ[name]
        path = name.removeprefix(ENV_PREFIX)
        try:
            of_list = next((head for head in _LISTS if path.startswith(f"{head}__")), None)
            if of_list is not None:
                _apply_to_entry(tree, of_list, path.removeprefix(f"{of_list}__"), value)
            else:
                _apply_to_section(tree, path.lower().split("__"), value)
        except SettingsError as error:
            raise SettingsError(f"environment variable {name}: {error}") from None
    return bool(names)


def _override(table: dict[str, Any], key: str, value: str) -> None:
    table[key] = value
    # The environment goes before the file, also where that names a file for the same secret.
    table.pop(f"{key}_file", None)


def _apply_to_section(tree: dict[str, Any], keys: Sequence[str], value: str) -> None:
    override: Any = value
    for key in reversed(keys):
        override = {key: override}
    _refuse_unknown_keys(override, Settings, "")
    table: Any = tree
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            return  # msgspec says what was expected here
    _override(table, keys[-1], value)


def _apply_to_entry(tree: dict[str, Any], head: str, rest: str, value: str) -> None:
    entries, keys = _LISTS[head], head.lower().split("__")
    entry_name, _, key = rest.rpartition("__")
    if key.lower() not in entries.section.__struct_fields__:
        raise SettingsError(f"no such key of [[{'.'.join(keys)}]]: {key.lower()}")
    found: Any = tree
    for each in keys:
        found = found.get(each) if isinstance(found, dict) else None
    for entry in found if isinstance(found, list) else []:
        if isinstance(entry, dict) and _environment_name(entries.name_of(entry)) == entry_name:
            _override(entry, key.lower(), value)
            return
    raise SettingsError(entries.unknown)


def _resolve_secret_files(section: S) -> S:
    """Read the file of each key that another key with the suffix ``_file`` names."""
    resolved: dict[str, Any] = {}
    for name in section.__struct_fields__:
        value = getattr(section, name)
        secret = name.removesuffix("_file")
        if value and secret != name and secret in section.__struct_fields__:
            resolved[secret] = _read_secret(value)
        elif isinstance(value, _Section):
            resolved[name] = _resolve_secret_files(value)
        elif isinstance(value, list):
            resolved[name] = [
                _resolve_secret_files(each) if isinstance(each, _Section) else each
                for each in value
            ]
    return msgspec.structs.replace(section, **resolved)


def _read_secret(path: str) -> str:
    try:
        secret = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"cannot read the secret file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"the secret file {path} is no UTF-8 text") from None
    if not secret:
        raise SettingsError(f"the secret file {path} is empty")
    return secret


_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|[^\s:/@\[\]]+)(?::(\d{1,5}))?")
"""host or host:port; an IPv6 address has brackets."""


def _are_hosts(text: str) -> bool:
    return all(_is_host(host.strip()) for host in text.split(","))


def _is_host(text: str) -> bool:
    """Return whether it is host or host:port; an IPv6 address without a port needs no brackets."""
    host = _HOST.fullmatch(text)
    if host is None:
        return _is_ipv6(text)
    address, port = host.groups()
    return (address is None or _is_ipv6(address)) and 0 < int(port or 1) <= MOST_PORT


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _split_url(where: str, url: str) -> SplitResult:
    """Split a URL of one host. Raises SettingsError, which quotes nothing: it may hold secrets."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - is read from the text, which may raise, only now
    except ValueError:
        raise SettingsError(f"{where} is no URL") from None
    if parts.scheme not in ("http", "https"):
        raise SettingsError(f"{where} must begin with http:// or https://")
    if not parts.hostname:
        raise SettingsError(f"{where} names no host")
    return parts


def _check_kafka(settings: Settings) -> None:
    kafka = settings.kafka
    if not _are_hosts(kafka.bootstrap):
        raise SettingsError(
            f"kafka: bootstrap must look like host:port,host:port, unlike {kafka.bootstrap!r}"
        )
    if kafka.min_insync_replicas > kafka.replication:
        raise SettingsError(
            f"kafka: min_insync_replicas = {kafka.min_insync_replicas} is more than replication = "
            f"{kafka.replication}: Kafka would take no record"
        )


def _check_vims(settings: Settings) -> None:
    seen: set[str] = set()
    queues: dict[tuple[str, str], str] = {}
    for vim in settings.vims:
        if "_" in vim.cloud_owner:
            raise SettingsError(
                f"vims: cloud_owner {vim.cloud_owner!r} contains '_', at which ONAP splits a vim_id"
            )
        if "/" in vim.vim_id:
            raise SettingsError(f"vims: {vim.vim_id!r} contains '/', which parts keys and routes")
        if vim.vim_id in seen:
            raise SettingsError(f"vims: {vim.vim_id} stands there twice")
        seen.add(vim.vim_id)
        if vim.transport_url:
            check_transport_url(f"vims: {vim.vim_id}: transport_url", vim.transport_url)
            other = queues.setdefault((vim.transport_url, vim.pool), vim.vim_id)
            if other != vim.vim_id:
                raise SettingsError(
                    f"vims: {other} and {vim.vim_id} have the same transport_url and the same "
                    "pool: each would take the other's notifications; give one another pool"
                )
        if vim.auth_url:
            _check_poller(vim)


def check_transport_url(where: str, text: str) -> None:
    """Check the URL of a cloud's broker that ``where`` names.

    Raises SettingsError, which quotes neither user nor password.
    """
    scheme = text.partition("://")[0].lower()
    if scheme not in ("rabbit", "kafka"):
        scheme = re.sub(r"[^a-z0-9+.-].*", "...", scheme)
        raise SettingsError(f"{where} must begin with rabbit:// or kafka://, not {scheme}://")
    try:
        url = urlsplit(text)
    except ValueError:
        url = SplitResult(scheme, "", "", "", "")
    hosts = ",".join(part.rpartition("@")[2] for part in url.netloc.split(","))
    if not _are_hosts(hosts) or "@" in url.path + url.query + url.fragment:
        raise SettingsError(
            f"{where} must look like {scheme}://user:password@host:port/; in user and password "
            "some characters are written otherwise: / as %2F, ? as %3F, # as %23, a comma as %2C, "
            "[ as %5B, ] as %5D"
        )


def _check_poller(vim: VimSettings) -> None:
    where = f"vims: {vim.vim_id}"
    _split_url(f"{where}: auth_url", vim.auth_url)
    if not (vim.username and vim.project_name) and not vim.application_credential_id:
        raise SettingsError(
            f"{where}: auth_url needs username and project_name, or application_credential_id"
        )


def _check_outputs(settings: Settings) -> None:
    seen: set[str] = set()
    for output in settings.dmaap.outputs:
        where = f"dmaap.outputs: {output.name}"
        if output.name in seen:
            raise SettingsError(f"{where} stands there twice")
        seen.add(output.name)
        try:
            url = urlsplit(output.url)
        except ValueError:
            raise SettingsError(f"{where}: url is no URL") from None
        if url.username or url.password:
            raise SettingsError(f"{where}: the url names a user: use username and password_file")
        if url.scheme not in ("kafka", "http", "https"):
            raise SettingsError(
                f"{where}: url must begin with kafka://, http:// or https://, not {url.scheme}://"
            )
        form = r"/[A-Za-z0-9._-]+" if output.is_kafka else r"/events/[A-Za-z0-9._-]+"
        hosts = _are_hosts(url.netloc) and (output.is_kafka or "," not in url.netloc)
        if not hosts or not re.fullmatch(form, url.path) or url.query or url.fragment:
            path = "/topic" if output.is_kafka else "/events/topic"
            raise SettingsError(f"{where}: url must look like {url.scheme}://host:port{path}")
    if settings.filter.output and settings.filter.output not in {
        output.name for output in settings.outputs()
    }:
        raise SettingsError(f"filter.output: there is no output {settings.filter.output!r}")
    served = settings.gateway.output
    if served and served not in {each.name for each in settings.outputs() if each.is_kafka}:
        raise SettingsError(f"gateway.output: there is no output {served!r} on Kafka")


def _check_web(settings: Settings) -> None:
    auth = settings.web.auth
    if settings.web.canonical_url:
        _split_url("web: canonical_url", settings.web.canonical_url)
    if settings.web.key_file and not settings.web.cert_file:
        raise SettingsError("web: key_file needs cert_file")
    seen: set[str] = set()
    for user in auth.users:
        where = f"web.auth.users: {user.name}"
        if user.name in seen:
            raise SettingsError(f"{where} stands there twice")
        seen.add(user.name)
        if bool(user.password) == bool(user.token):
            raise SettingsError(f"{where} needs either a password or a token")
        if user.token and len(user.token) < SHORTEST_SECRET:
            raise SettingsError(f"{where}: a token has {SHORTEST_SECRET} characters at least")
    if auth.is_on and auth.allow_anonymous:
        raise SettingsError("web.auth: allow_anonymous contradicts users and keystone")
    if auth.is_on and not auth.peer_secret:
        raise SettingsError(
            "web.auth: with users or keystone the workers need peer_secret, or peer_secret_file, "
            "to know each other: the same random text for all of them"
        )
    if auth.peer_secret and len(auth.peer_secret) < SHORTEST_SECRET:
        raise SettingsError(f"web.auth: peer_secret has {SHORTEST_SECRET} characters at least")
    keystone = auth.keystone
    if keystone.url:
        _split_url("web.auth.keystone: url", keystone.url)
    if bool(keystone.username) != bool(keystone.password):
        raise SettingsError("web.auth.keystone: username and password go together")
