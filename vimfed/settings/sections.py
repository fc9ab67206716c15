"""The sections of the settings: types, defaults, limits, and a text for each key."""

import re
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from vimfed.errors import UsageError
from vimfed.model.identity import vim_id_of
from vimfed.settings.values import Login, Secret

DEFAULT_DMAAP_TOPIC = "unauthenticated.VIM_VM_EVENTS"
MAX_PORT = 65535
MIN_SECRET = 16
"""Characters that a token or a secret of the HTTP API has at least."""
EVENTS_RETENTION = 7 * 24 * 3600
"""Seconds for which the events topic keeps a record."""

Format = Literal["payload", "cloudevents", "ves"]


class SettingsError(UsageError):
    """The settings cannot be used; the text says which key and how to mend it."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings file."""


S = TypeVar("S", bound=_Section)


class Tls(_Section, frozen=True, kw_only=True):
    """How a client speaks TLS."""

    ca_file: Annotated[
        str,
        Meta(
            description="PEM file of the authority that signed the servers' certificates; empty: "
            "the system's authorities"
        ),
    ] = ""
    cert_file: Annotated[str, Meta(description="PEM file of the client's certificate")] = ""
    key_file: Annotated[
        str, Meta(description="PEM file of the client's key; empty: in cert_file")
    ] = ""


class KafkaConnection(Tls, frozen=True, kw_only=True):
    """How to connect to a Kafka."""

    bootstrap: Annotated[str, Meta(description="host:port of brokers, comma-separated")] = ""
    security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        Meta(description="how to connect"),
    ] = "PLAINTEXT"
    sasl_mechanism: Annotated[
        Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"], Meta(description="SASL mechanism")
    ] = "SCRAM-SHA-512"
    username: Annotated[str, Meta(description="SASL user")] = ""
    password: Annotated[Secret, Meta(description="SASL password (better: password_file)")] = (
        Secret()
    )
    password_file: Annotated[str, Meta(description="file that holds the SASL password")] = ""

    @property
    def is_tls(self) -> bool:
        """Whether it is over TLS."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def login(self) -> Login | None:
        """The SASL user; None where it is without SASL."""
        if not self.security_protocol.startswith("SASL"):
            return None
        return Login(self.username, self.password)


class KafkaSettings(KafkaConnection, frozen=True, kw_only=True):
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


class DmaapOutput(Tls, frozen=True, kw_only=True):
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
    sasl_mechanism: Annotated[
        Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"], Meta(description="SASL mechanism")
    ] = "SCRAM-SHA-512"
    username: Annotated[
        str, Meta(description="SASL user, or the Message Router's; empty there: no authentication")
    ] = ""
    password: Annotated[Secret, Meta(description="their password (better: password_file)")] = (
        Secret()
    )
    password_file: Annotated[str, Meta(description="file that holds the password")] = ""
    gzip: Annotated[
        bool, Meta(description="Message Router: send application/cambria-zip, compressed")
    ] = False

    @property
    def login(self) -> Login:
        """Who logs in to Kafka or to the Message Router; without a username nobody does."""
        return Login(self.username, self.password)

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


class RabbitSettings(Tls, frozen=True, kw_only=True):
    """``[vims.rabbit]``: a cloud that notifies over RabbitMQ."""

    transport_urls: Annotated[
        tuple[Secret, ...],
        Meta(
            description="oslo.messaging transport URL of each message bus, such as those of nova's "
            "cells: rabbit://user:password@host:5672/vhost (several hosts of one cluster "
            "comma-separated); add further ones behind the first (better: transport_urls_file)"
        ),
    ] = ()
    transport_urls_file: Annotated[str, Meta(description="file that holds them, one a line")] = ""
    topics: Annotated[
        tuple[str, ...], Meta(description="nova's notification topics", min_length=1)
    ] = ("notifications", "versioned_notifications")
    exchange: Annotated[
        str, Meta(description="nova's control_exchange, where the notification queues are bound")
    ] = "nova"
    pool: Annotated[
        str,
        Meta(
            description="name of our own queue, so that other consumers, such as ceilometer, lose "
            "nothing to us",
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
    tls: Annotated[bool, Meta(description="connect over TLS")] = False

    @property
    def is_used(self) -> bool:
        """Whether the cloud is listened to so."""
        return bool(self.transport_urls)

    @property
    def buses(self) -> dict[str, Secret]:
        """URL of each message bus, by the bus's name."""
        return {bus_name(url): url for url in self.transport_urls}


class CloudKafkaSettings(KafkaConnection, frozen=True, kw_only=True):
    """``[vims.kafka]``: a cloud that notifies over Kafka."""

    virtual_host: Annotated[
        str,
        Meta(description="what stands behind the hosts in nova's transport_url, if anything does"),
    ] = ""
    topics: Annotated[
        tuple[str, ...], Meta(description="nova's notification topics", min_length=1)
    ] = ("notifications", "versioned_notifications")
    group: Annotated[
        str,
        Meta(
            description="our consumer group, so that other consumers, such as ceilometer, lose "
            "nothing to us",
            min_length=1,
        ),
    ] = "vimfed"
    poll_records: Annotated[
        int, Meta(description="maximum records of one batch", ge=1, le=10000)
    ] = 1000
    max_poll_interval: Annotated[
        float,
        Meta(
            description="seconds that a batch may take until Kafka gives the partitions to another "
            "member of the group",
            gt=0,
        ),
    ] = 1800.0

    @property
    def is_used(self) -> bool:
        """Whether the cloud is listened to so."""
        return bool(self.bootstrap)


class PollSettings(_Section, frozen=True, kw_only=True):
    """``[vims.poll]``: a cloud whose API is polled, alone or beside its notifications."""

    auth_url: Annotated[
        str,
        Meta(
            description="the cloud's Keystone, https://keystone:5000/v3: nova's API is polled; "
            "empty: it is not"
        ),
    ] = ""
    username: Annotated[str, Meta(description="Keystone user that polls")] = ""
    password: Annotated[Secret, Meta(description="its password (better: password_file)")] = Secret()
    password_file: Annotated[str, Meta(description="file that holds the password")] = ""
    project_name: Annotated[str, Meta(description="project to which the user logs in")] = ""
    user_domain_name: Annotated[str, Meta(description="domain of the user")] = "Default"
    project_domain_name: Annotated[str, Meta(description="domain of the project")] = "Default"
    application_credential_id: Annotated[
        str, Meta(description="application credential, in place of user and project")
    ] = ""
    application_credential_secret: Annotated[
        Secret, Meta(description="its secret (better: application_credential_secret_file)")
    ] = Secret()
    application_credential_secret_file: Annotated[
        str, Meta(description="file that holds the secret")
    ] = ""
    region_name: Annotated[
        str, Meta(description="region of the compute endpoint; empty: the catalogue has but one")
    ] = ""
    interface: Annotated[
        Literal["public", "internal", "admin"], Meta(description="which of its endpoints to use")
    ] = "public"
    ca_file: Annotated[
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
    interval: Annotated[
        float,
        Meta(
            description="seconds between two polls; 0: 30 where the cloud is not listened to, "
            "else 600, where polling only finds what nova's senders lost",
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
    timeout: Annotated[
        float, Meta(description="seconds that the API has for an answer", gt=0, le=600)
    ] = 30.0

    @property
    def is_used(self) -> bool:
        """Whether the cloud is polled."""
        return bool(self.auth_url)


class VimSettings(_Section, frozen=True, kw_only=True):
    """``[[vims]]``: one cloud, and in a table for each the ways in which it is heard."""

    cloud_owner: Annotated[
        str, Meta(description="ONAP's cloud_owner, without _ and /", min_length=1)
    ]
    cloud_region_id: Annotated[
        str, Meta(description="ONAP's cloud_region_id, without /", min_length=1)
    ]
    rabbit: RabbitSettings = RabbitSettings()
    kafka: CloudKafkaSettings = CloudKafkaSettings()
    poll: PollSettings = PollSettings()

    @property
    def notifies(self) -> bool:
        """Whether the cloud is listened to."""
        return self.rabbit.is_used or self.kafka.is_used

    @property
    def seconds_between_polls(self) -> float:
        """``poll.interval``, or what it is by default."""
        return self.poll.interval or (600.0 if self.notifies else 30.0)

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
        Secret,
        Meta(
            description="password, or its hash as vimfed hash-password makes it (better: "
            "password_file)"
        ),
    ] = Secret()
    password_file: Annotated[str, Meta(description="file that holds the password")] = ""
    token: Annotated[
        Secret,
        Meta(description="bearer token, 16 characters at least, random (better: token_file)"),
    ] = Secret()
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
    password: Annotated[Secret, Meta(description="its password (better: password_file)")] = Secret()
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
        Secret,
        Meta(
            description="by which the workers know each other, the same for all, 16 characters at "
            "least; needed with users or Keystone (better: peer_secret_file)"
        ),
    ] = Secret()
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
            description="names, each with or without a port, by which workers and gateway are "
            "reached, through a proxy or without; where nobody has to log in, no others are "
            "answered but loopback's and canonical_url's, and with allow_anonymous IP addresses"
        ),
    ] = []
    trusted_proxies: Annotated[
        list[Annotated[str, Meta(pattern=r"^[0-9A-Fa-f:.]+(/\d{1,3})?$")]],
        Meta(
            description="addresses or networks (10.0.0.0/24) of proxies in front of workers and "
            "gateway: X-Forwarded-For of theirs tells who asks, for failed logins and shares, and "
            "they may hold all connections"
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
    password: Annotated[Secret, Meta(description="password or secret (better: password_file)")] = (
        Secret()
    )
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
    cert_file: Annotated[
        str, Meta(description="PEM file of the server's certificate; with it, HTTPS is served")
    ] = ""
    key_file: Annotated[str, Meta(description="PEM file of its key; empty: in cert_file")] = ""
    topics: Annotated[
        tuple[str, ...],
        Meta(description="the only topics that are served, made and listed; * matches anything"),
    ] = ("unauthenticated.*",)
    allow_anonymous: Annotated[
        bool,
        Meta(
            description="without users: let everybody who reaches it publish and read, although it "
            "listens on more than loopback: where the network keeps strangers out"
        ),
    ] = False
    open_publish: Annotated[
        tuple[str, ...], Meta(description="with users: topics to which everybody may publish")
    ] = ()
    open_subscribe: Annotated[
        tuple[str, ...], Meta(description="with users: topics that everybody may read")
    ] = ("unauthenticated.*",)
    users: Annotated[
        list[GatewayUser],
        Meta(description="who may publish and read; without users everybody may"),
    ] = []

    @property
    def scheme(self) -> str:
        """Of its URLs: http or https."""
        return "https" if self.cert_file else "http"


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


def bus_name(url: Secret) -> str:
    """Return the name of a message bus: the first host of its URL, its port and virtual host.

    It is that of no other bus, and holds neither user nor password.
    """
    parts = urlsplit(url.reveal())
    host = parts.netloc.split(",")[0].rpartition("@")[2].lower()
    has_port = re.search(r"(^[^:]*|\]):\d+$", host)
    return f"{host if has_port else f'{host}:5672'}/{parts.path.strip('/')}"


def section_type(annotation: Any) -> type[_Section] | None:
    """Return the section type in ``annotation``: itself, or that of a list's entries."""
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is list:
        annotation = typing.get_args(annotation)[0]
    if isinstance(annotation, types.GenericAlias):
        return None
    return annotation if isinstance(annotation, type) and issubclass(annotation, _Section) else None
