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
from vimfed.model.samples import MeterKind
from vimfed.settings.values import Login, Secret

DEFAULT_DMAAP_TOPIC = "unauthenticated.VIM_VM_EVENTS"
MAX_PORT = 65535
TOPIC = r"^[A-Za-z0-9._-]+$"
"""What Kafka takes as a topic's name."""
PROJECT_PLACE = "{project_id}"
"""What stands for a project's id in the topic of an output where each has its own."""
MIN_SECRET = 16
"""Characters that a token or a secret of the HTTP API has at least."""

LabelName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+$")]

Format = Literal["payload", "cloudevents", "ves"]
VesVersion = Literal["7.2.1", "7.1", "5.4"]
"""Of the VES event listener's interface: the forms of messages that collectors take."""
VesDomain = Literal["fault", "notification", "heartbeat", "measurement"]
Carries = Literal["events", "measurements"]
"""What an output gets."""
WebhookMode = Literal["structured", "binary", "batch"]
"""CloudEvents' content modes over HTTP."""
Severity = Literal["CRITICAL", "MAJOR", "MINOR", "WARNING"]
"""VES's words for how bad an alarm is that is active."""


class SettingsError(UsageError):
    """The settings cannot be used; the text says which key and how to mend it."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings file."""


S = TypeVar("S", bound=_Section)


class Tls(_Section, frozen=True, kw_only=True):
    """How a client speaks TLS."""

    ca_file: str = ""
    """PEM file of the authority that signed the servers' certificates; empty: the system's
    authorities"""
    cert_file: str = ""
    """PEM file of the client's certificate"""
    key_file: str = ""
    """PEM file of the client's key; empty: in cert_file"""


class KafkaConnection(Tls, frozen=True, kw_only=True):
    """How to connect to a Kafka."""

    bootstrap: str = ""
    """host:port of brokers, comma-separated"""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """how to connect"""
    sasl_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] = "SCRAM-SHA-512"
    """SASL mechanism"""
    username: str = ""
    """SASL user"""
    password: Secret = Secret()
    """SASL password (better: password_file)"""
    password_file: str = ""
    """file that holds the SASL password"""
    insecure: bool = False
    """send the password in the clear (PLAIN without TLS) also to another machine: where nobody
    listens on the way"""

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


class RetentionSettings(_Section, frozen=True, kw_only=True):
    """``[kafka.retention]``: how long what clouds told is kept, in seconds, and what of it."""

    notifications: Annotated[int, Meta(ge=3600)] = 7 * 24 * 3600
    """notifications as they came: what no worker has read by then is lost"""
    events: Annotated[int, Meta(ge=3600)] = 7 * 24 * 3600
    """events: what no publisher has read by then is lost; not less than dmaap.give_up_after"""
    dead_letters: Annotated[int, Meta(ge=3600)] = 30 * 24 * 3600
    """dead letters: the time in which they can be replayed"""
    samples: Annotated[int, Meta(ge=3600)] = 24 * 3600
    """samples: what no worker has read by then is lost"""
    measurements: Annotated[int, Meta(ge=3600)] = 24 * 3600
    """measurements: what no publisher has read by then is lost"""
    unused: bool = False
    """bridges forward notifications that no worker uses, too: keypairs, flavors, services, audits,
    failed calls"""

    def of(self, carries: Carries) -> int:
        """Return for how long what outputs get waits for their publishers, in seconds."""
        return self.events if carries == "events" else self.measurements

    @property
    def longest_matched(self) -> int:
        """For how long something may wait that is matched against subscriptions, in seconds."""
        return max(self.events, self.measurements)


class KafkaSettings(KafkaConnection, frozen=True, kw_only=True):
    """``[kafka]``: the cluster that carries the job's own topics."""

    bootstrap: str = "127.0.0.1:9092"
    """host:port of brokers, comma-separated"""
    local: bool = False
    """for demos: vimfed run starts a broker of its own at bootstrap, a port of 127.0.0.1; its
    controller takes the next port, its data lie in state_dir/kafka"""
    topic_prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]+$")] = "vimfed"
    """first word of the names of all topics"""
    partitions: Annotated[int, Meta(ge=1, le=1000)] = 8
    """partitions of notifications, changelog and events; bounds the number of workers that share
    the load, and cannot be changed later"""
    replication: Annotated[int, Meta(ge=1)] = 1
    """replicas of each topic (3 in production)"""
    min_insync_replicas: Annotated[int, Meta(ge=1)] = 1
    """replicas that must acknowledge a write (2 in production)"""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "zstd"
    """how bridges and workers compress what they write to the job's own topics, by batch; outputs
    are not compressed"""
    retention: RetentionSettings = RetentionSettings()


class VesSeverities(_Section, frozen=True, kw_only=True):
    """``[dmaap.outputs.ves_severities]``: how bad a VES fault is, by the alarm's condition."""

    vm_error: Severity = "CRITICAL"
    """a VM is in vm_state error"""
    vm_unavailable: Severity = "CRITICAL"
    """a VM's host is down"""
    host_down: Severity = "CRITICAL"
    """a host is down"""
    action_failed: Severity = "MAJOR"
    """an action of worker.action_failures failed and left the VM as it was"""
    action_ended: Severity = "CRITICAL"
    """an action of worker.action_ends has ended"""
    alert: Severity = "WARNING"
    """an alert from outside whose monitor says no severity that is known (docs/outputs.md)"""


class VesTopics(_Section, frozen=True, kw_only=True):
    """``[dmaap.outputs.ves_topics]``: the topic of each VES domain, of a ves+kafka:// output."""

    fault: Annotated[str, Meta(pattern=TOPIC)] = "unauthenticated.SEC_FAULT_OUTPUT"
    """topic of faults"""
    notification: Annotated[str, Meta(pattern=TOPIC)] = "unauthenticated.VES_NOTIFICATION_OUTPUT"
    """topic of notifications"""
    heartbeat: Annotated[str, Meta(pattern=TOPIC)] = "unauthenticated.SEC_HEARTBEAT_OUTPUT"
    """topic of heartbeats"""
    measurement: Annotated[str, Meta(pattern=TOPIC)] = "unauthenticated.VES_MEASUREMENT_OUTPUT"
    """topic of measurements"""


class WebhookSettings(_Section, frozen=True, kw_only=True):
    """``[dmaap.outputs.webhook]``: how a webhook+https:// output asks its receiver."""

    mode: WebhookMode = "structured"
    """what a request is: structured: one CloudEvent as JSON; binary: its data, its attributes in
    headers; batch: several, one request at a time for each partition"""
    secret: Secret = Secret()
    """whsec_ and the base64 of a key of 24 to 64 bytes, by which each request is signed as Standard
    Webhooks says; empty: none is (better: secret_file)"""
    secret_file: str = ""
    """file that holds it"""
    secret_previous: Secret = Secret()
    """the secret before this one, which signs, too, until the receiver has the new one (better:
    secret_previous_file)"""
    secret_previous_file: str = ""
    """file that holds it"""
    token: Secret = Secret()
    """bearer token that the receiver asks for, instead of username and password (better:
    token_file)"""
    token_file: str = ""
    """file that holds the token"""
    handshake: bool = True
    """ask the receiver first whether it wants the events, as CloudEvents' webhook specification
    says; false: for a receiver that does not know this"""
    origin: Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")] = (
        "vim-event-federation"
    )
    """DNS name by which the receiver knows who sends: of this whole installation"""
    request_rate: Annotated[int, Meta(ge=0)] = 0
    """requests a minute for which the handshake asks; 0: it names none"""
    parallel: Annotated[int, Meta(ge=1, le=1000)] = 16
    """requests that may be under way at once, never two about one instance"""
    allowed_networks: tuple[Annotated[str, Meta(pattern=r"^[0-9A-Fa-f:.]+(/\d{1,3})?$")], ...] = ()
    """networks (10.1.0.0/16) of addresses that are not public and that the receiver may have all
    the same"""


class DmaapOutput(Tls, frozen=True, kw_only=True):
    """``[[dmaap.outputs]]``: one place where events, or measurements, are published."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.-]+$")] = "dmaap"
    """names the output's progress (its consumer group): keep it"""
    url: str
    """kafka://host:port/topic (several brokers comma-separated), with {project_id} in the topic one
    for each project (docs/outputs.md#topics-of-tenants); ves+kafka://host:port, where each VES
    domain has a topic; the Message Router's http(s)://host:port/events/topic; VES collectors,
    ves+https://host:port/eventListener/v7 (several comma-separated: the next one is asked where one
    fails); or a webhook, webhook+https://host:port/path"""
    carries: Carries = "events"
    """what is published there: events, or measurements, of clouds that have [vims.samples]"""
    format: Format = "payload"
    """what a message looks like (docs/outputs.md); ves+ urls take ves alone; a webhook gets
    CloudEvents, whose data this says: ves, or else the payload"""
    vim_event: bool = True
    """add the object vim_event (id, kind, phase, ...) to the payload of an event"""
    heartbeats: bool = False
    """send every cloud's heartbeats, whatever the subscriptions say, in every format; false: those
    that are subscribed by their kind, and with format ves"""
    ves_domains: list[VesDomain] = []
    """format ves: the domains that are sent; empty: with ves+ urls all that the version has, else
    faults alone; measurements have their own, measurement"""
    ves_version: VesVersion = "7.2.1"
    """format ves: version of the messages; 5.4, without notifications and measurements, goes with
    /eventListener/v5"""
    ves_severities: VesSeverities = VesSeverities()
    ves_topics: VesTopics = VesTopics()
    webhook: WebhookSettings = WebhookSettings()
    timeout: Annotated[float, Meta(gt=0)] = 20.0
    """seconds after which an attempt to deliver counts as failed"""
    security_protocol: Literal["", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = ""
    """how to connect to Kafka; empty: as [kafka] says, with its login for its own brokers"""
    sasl_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] = "SCRAM-SHA-512"
    """SASL mechanism"""
    username: str = ""
    """SASL user, or the Message Router's, VES collector's or webhook's; empty there: no
    authentication"""
    password: Secret = Secret()
    """their password (better: password_file)"""
    password_file: str = ""
    """file that holds the password"""
    gzip: bool = False
    """Message Router: send application/cambria-zip, compressed"""
    insecure: bool = False
    """send the password in the clear (http://, ves+http://, or PLAIN without TLS), or anything to a
    webhook+http:// url, also to another machine: where nobody listens on the way"""

    @property
    def login(self) -> Login:
        """Who logs in to Kafka or over HTTP; without a username nobody does."""
        return Login(self.username, self.password)

    @property
    def scheme(self) -> str:
        """The scheme of its URL, which says its kind (streams/publisher/outputs/kinds.py)."""
        return urlsplit(self.url).scheme

    @property
    def is_kafka(self) -> bool:
        """Whether it is a Kafka cluster."""
        return self.scheme in ("kafka", "ves+kafka")

    @property
    def is_ves(self) -> bool:
        """Whether it takes nothing but VES, whatever a subscription's format is."""
        return self.scheme.startswith("ves+")

    @property
    def is_webhook(self) -> bool:
        """Whether it gets CloudEvents, whatever a subscription's format is."""
        return self.scheme.startswith("webhook+")

    @property
    def is_of_tenants(self) -> bool:
        """Whether each project has a topic of its own, and hears of its own instances alone."""
        return self.scheme == "kafka" and PROJECT_PLACE in urlsplit(self.url).path

    @property
    def domains(self) -> tuple[VesDomain, ...]:
        """VES domains that it gets in the format ves."""
        if self.ves_domains:
            return tuple(self.ves_domains)
        if self.carries == "measurements":
            return ("measurement",)
        if not self.is_ves:
            return ("fault",)
        return (
            ("fault", "heartbeat")
            if self.ves_version == "5.4"
            else ("fault", "notification", "heartbeat")
        )

    def topic_of(self, domain: str) -> str:
        """Return the topic of a Kafka output for messages of a VES domain; empty: of no VES."""
        if self.scheme == "ves+kafka":
            topic: str = getattr(self.ves_topics, domain)
            return topic
        return urlsplit(self.url).path.strip("/")

    def topic_of_project(self, project_id: str) -> str:
        """Return the topic of a project, where each has its own."""
        return self.topic_of("").replace(PROJECT_PLACE, project_id)

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics of a Kafka output that are known beforehand: not those of projects."""
        if self.is_of_tenants:
            return ()
        return tuple(dict.fromkeys(map(self.topic_of, self.domains)))


class DmaapSettings(_Section, frozen=True, kw_only=True):
    """``[dmaap]``: where the events go, and the publishers' own HTTP endpoints."""

    host: str = "127.0.0.1"
    """address on which publishers serve /metrics, /healthz and /readyz"""
    port: Annotated[int, Meta(ge=0, le=65000)] = 6070
    """port of the first output's publisher, the others take those above it; 0: any free one, for
    tests"""
    give_up_after: Annotated[float, Meta(gt=0)] = 3.5 * 24 * 3600
    """seconds since an event's arrival after which it is not tried again, but dead-lettered; not
    more than kafka.retention.events; of a measurement half of kafka.retention.measurements at
    most"""
    outputs: list[DmaapOutput] = []
    """by default topic unauthenticated.VIM_VM_EVENTS on the cluster of [kafka]"""


class RabbitSettings(Tls, frozen=True, kw_only=True):
    """``[vims.rabbit]``: a cloud that notifies over RabbitMQ."""

    transport_urls: tuple[Secret, ...] = ()
    """oslo.messaging transport URL of each message bus, such as those of nova's cells:
    rabbit://user:password@host:5672/vhost (several hosts of one cluster comma-separated); add
    further ones behind the first (better: transport_urls_file)"""
    transport_urls_file: str = ""
    """file that holds them, one a line"""
    topics: Annotated[tuple[str, ...], Meta(min_length=1)] = (
        "notifications",
        "versioned_notifications",
    )
    """nova's notification topics"""
    exchange: str = "nova"
    """nova's control_exchange, where the notification queues are bound"""
    pool: Annotated[str, Meta(min_length=1)] = "vimfed"
    """name of our own queue, so that other consumers, such as ceilometer, lose nothing to us"""
    durable_queues: bool = True
    """make our queue durable: what waits in it survives a restart of RabbitMQ, whatever nova's own
    queues are"""
    quorum_queues: bool = False
    """make our queue a quorum queue, replicated over a cluster's nodes"""
    durable_exchange: bool = False
    """make the exchange durable where its owner has not made it yet: as the owner's
    amqp_durable_queues or rabbit_quorum_queue; one that exists is left as it is"""
    prefetch: Annotated[int, Meta(ge=2, le=10000)] = 1000
    """messages that are on the way to Kafka at most; half of them make the largest batch"""
    batch_interval: Annotated[float, Meta(gt=0, le=5)] = 0.01
    """seconds between two batches at least, and up to four times as many while Kafka takes long for
    them: what comes in quick succession shares one"""
    heartbeat: Annotated[int, Meta(ge=2)] = 60
    """seconds after which a silent RabbitMQ counts as dead"""
    consumer_timeout: Annotated[float, Meta(gt=0)] = 1800.0
    """RabbitMQ's own consumer_timeout in seconds; while Kafka is away, the listener is remade when
    two thirds of it have passed"""
    tls: bool = False
    """connect over TLS"""
    insecure: bool = False
    """use TLS without checking whose server it is: without ca_file, or with several hosts in a
    URL, whose names nobody compares with the certificate's"""

    @property
    def is_used(self) -> bool:
        """Whether the cloud is listened to so."""
        return bool(self.transport_urls)

    @property
    def sender(self) -> str:
        """Whose exchange it is."""
        return "nova"

    @property
    def buses(self) -> dict[str, Secret]:
        """URL of each message bus, by the bus's name."""
        return {bus_name(url): url for url in self.transport_urls}


class CloudKafkaSettings(KafkaConnection, frozen=True, kw_only=True):
    """``[vims.kafka]``: a cloud that notifies over Kafka."""

    virtual_host: str = ""
    """what stands behind the hosts in nova's transport_url, if anything does"""
    topics: Annotated[tuple[str, ...], Meta(min_length=1)] = (
        "notifications",
        "versioned_notifications",
    )
    """nova's notification topics"""
    group: Annotated[str, Meta(min_length=1)] = "vimfed"
    """our consumer group, so that other consumers, such as ceilometer, lose nothing to us"""
    poll_records: Annotated[int, Meta(ge=1, le=10000)] = 1000
    """maximum records of one batch"""
    max_poll_interval: Annotated[float, Meta(gt=0)] = 1800.0
    """seconds that a batch may take until Kafka gives the partitions to another member of the
    group"""

    @property
    def is_used(self) -> bool:
        """Whether the cloud is listened to so."""
        return bool(self.bootstrap)

    @property
    def sender(self) -> str:
        """Whose topics they are."""
        return "nova"

    @property
    def has_plain_topics(self) -> bool:
        """Whether there can be topics without a priority behind their names."""
        return False


class SamplesRabbitSettings(RabbitSettings, frozen=True, kw_only=True):
    """``[vims.samples.rabbit]``: a cloud whose ceilometer sends samples over RabbitMQ."""

    topics: Annotated[tuple[str, ...], Meta(min_length=1)] = ("metering",)
    """topics of ceilometer's publishers notifier://"""
    exchange: str = "ceilometer"
    """ceilometer's control_exchange"""
    pool: Annotated[str, Meta(min_length=1)] = "vimfed-samples"
    """name of our own queue, unlike that of [vims.rabbit] on the same bus"""

    @property
    def sender(self) -> str:
        """Whose exchange it is."""
        return "ceilometer"


class SamplesKafkaSettings(CloudKafkaSettings, frozen=True, kw_only=True):
    """``[vims.samples.kafka]``: a cloud whose ceilometer sends samples over Kafka."""

    topics: Annotated[tuple[str, ...], Meta(min_length=1)] = ("metering",)
    """topics of ceilometer's publishers, as notifier://...?driver=kafka or kafka:// name them"""
    group: Annotated[str, Meta(min_length=1)] = "vimfed-samples"
    """our consumer group, unlike that of [vims.kafka] on the same Kafka"""

    @property
    def sender(self) -> str:
        """Whose topics they are."""
        return "ceilometer"

    @property
    def has_plain_topics(self) -> bool:
        """True: former ceilometers' kafka:// names no priority."""
        return True


class PrometheusQuery(_Section, frozen=True, kw_only=True):
    """``[[vims.samples.prometheus.queries]]``: one meter, and the PromQL that says it."""

    meter: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,200}$")]
    """name of the meter, as ceilometer calls it, e.g. cpu; one that built_in has, too, takes its
    place"""
    query: Annotated[str, Meta(min_length=1, max_length=2000)]
    """PromQL of an instant vector: one series for each instance or host, or for each of its
    devices"""
    time_of: Annotated[str, Meta(max_length=2000)] = ""
    """metric, with or without matchers, that is scraped together with query: its scrapes are when
    the values were so; empty: query itself. To be named where query calculates, since Prometheus
    then knows no time but that of the question"""
    join: Annotated[str, Meta(max_length=2000)] = ""
    """PromQL that stands behind query and adds the label of the instance, e.g.
    * on (job, instance, domain) group_left (instance_id) libvirt_domain_openstack_info"""
    type: MeterKind = "gauge"
    """what a value is: it stands for itself, it counts since some start, or it is what came since
    the one before"""
    factor: float = 1.0
    """each value is multiplied by it, to be in unit"""
    unit: Annotated[str, Meta(max_length=50)] = ""
    """unit of the meter, as ceilometer spells it, e.g. ns, MiB, B"""
    instance_label: str = ""
    """label that holds nova's id of the instance; this or host_label"""
    host_label: str = ""
    """label that holds nova's name of the host, with or without a port, of what is about hosts"""
    device_label: str = ""
    """label that names the disk, port or device; empty: it is about the whole instance or host"""


class PrometheusSettings(Tls, frozen=True, kw_only=True):
    """``[vims.samples.prometheus]``: a Prometheus that is asked for samples of the cloud."""

    url: str = ""
    """URL of Prometheus, or of what answers like it, without /api/v1; empty: it is not asked"""
    built_in: list[
        Literal["libvirt_domain_openstack_info", "libvirt_domain_info_meta", "openstack_nova"]
    ] = []
    """meters that are asked for without queries of one's own: those of a libvirt exporter, by its
    metric that has the instances' ids, or those of hosts of the openstack-exporter
    (docs/metrics.md)"""
    matchers: str = ""
    """label matchers of the metrics of built_in, where Prometheus has several clouds, e.g.
    region="RegionOne\""""
    queries: list[PrometheusQuery] = []
    delay: Annotated[float, Meta(ge=0, le=600)] = 5.0
    """seconds after an interval at which Prometheus is asked for it: more than a scrape takes, and
    less than metrics.grace"""
    timeout: Annotated[float, Meta(gt=0, le=600)] = 30.0
    """seconds that Prometheus has for an answer"""
    username: str = ""
    """user of HTTP basic authentication"""
    password: Secret = Secret()
    """its password (better: password_file)"""
    password_file: str = ""
    """file that holds the password"""
    bearer_token: Secret = Secret()
    """token that is sent in place of a user (better: bearer_token_file)"""
    bearer_token_file: str = ""
    """file that holds the token"""
    insecure: bool = False
    """send the password or token to an http:// url on another machine: where nobody listens on the
    way"""

    @property
    def is_used(self) -> bool:
        """Whether a Prometheus is asked."""
        return bool(self.url)

    @property
    def has_login(self) -> bool:
        """Whether a secret is sent."""
        return bool(self.username or self.bearer_token)


class SamplesSettings(_Section, frozen=True, kw_only=True):
    """``[vims.samples]``: samples of meters, of which measurements are made; none by default."""

    pushed: bool = False
    """take samples that plug-ins push"""
    usage: bool = False
    """take what nova notifies of the usage of instances (compute.instance.exists) and hosts
    (compute.metrics.update)"""
    telemetry_secret: Secret = Secret()
    """ceilometer's telemetry_secret: samples that it has not signed with that are dead letters;
    empty: nobody looks at signatures (better: telemetry_secret_file)"""
    telemetry_secret_file: str = ""
    """file that holds the secret"""
    rabbit: SamplesRabbitSettings = SamplesRabbitSettings()
    kafka: SamplesKafkaSettings = SamplesKafkaSettings()
    prometheus: PrometheusSettings = PrometheusSettings()

    @property
    def is_used(self) -> bool:
        """Whether samples of the cloud are taken, whichever way."""
        sources = (self.rabbit, self.kafka, self.prometheus)
        return self.pushed or self.usage or any(source.is_used for source in sources)


class PollSettings(_Section, frozen=True, kw_only=True):
    """``[vims.poll]``: a cloud whose API is polled, alone or beside its notifications."""

    auth_url: str = ""
    """the cloud's Keystone, https://keystone:5000/v3: nova's API is polled; empty: it is not"""
    username: str = ""
    """Keystone user that polls"""
    password: Secret = Secret()
    """its password (better: password_file)"""
    password_file: str = ""
    """file that holds the password"""
    project_name: str = ""
    """project to which the user logs in"""
    user_domain_name: str = "Default"
    """domain of the user"""
    project_domain_name: str = "Default"
    """domain of the project"""
    application_credential_id: str = ""
    """application credential, in place of user and project"""
    application_credential_secret: Secret = Secret()
    """its secret (better: application_credential_secret_file)"""
    application_credential_secret_file: str = ""
    """file that holds the secret"""
    region_name: str = ""
    """region of the compute endpoint; empty: the catalogue has but one"""
    interface: Literal["public", "internal", "admin"] = "public"
    """which of its endpoints to use"""
    ca_file: str = ""
    """PEM file of the authority that signed Keystone's and nova's certificates; empty: the system's
    authorities"""
    hosts: tuple[str, ...] = ()
    """hosts, besides auth_url's, at which the catalogue may say that nova is; empty: any that is
    not at a loopback or link-local address"""
    all_projects: bool = True
    """poll the servers of all projects, which takes an admin; false: its own"""
    interval: Annotated[float, Meta(ge=0, le=86400)] = 0.0
    """seconds between two polls; 0: 30 where the cloud is not listened to, else 600, where polling
    only finds what nova's senders lost"""
    compare_interval: Annotated[float, Meta(ge=0)] = 86400.0
    """seconds between two comparisons of all known instances with the polled cloud, the first at
    the start: what is gone is told as deleted; 0: never"""
    hosts_interval: Annotated[float, Meta(ge=0, le=3600)] = 10.0
    """seconds between two looks which compute hosts are up, down or disabled, which takes an admin:
    nova notifies nobody when one dies; 0: none"""
    timeout: Annotated[float, Meta(gt=0, le=600)] = 30.0
    """seconds that the API has for an answer"""
    insecure: bool = False
    """send the password to an http:// auth_url on another machine: where nobody listens on the
    way"""

    @property
    def is_used(self) -> bool:
        """Whether the cloud is polled."""
        return bool(self.auth_url)

    @property
    def looks_at_hosts(self) -> bool:
        """Whether the cloud is asked how its hosts are."""
        return self.is_used and self.hosts_interval > 0


class VimSettings(_Section, frozen=True, kw_only=True):
    """``[[vims]]``: one cloud, and in a table for each the ways in which it is heard."""

    cloud_owner: Annotated[str, Meta(min_length=1)]
    """ONAP's cloud_owner, without _ and /"""
    cloud_region_id: Annotated[str, Meta(min_length=1)]
    """ONAP's cloud_region_id, without /"""
    rabbit: RabbitSettings = RabbitSettings()
    kafka: CloudKafkaSettings = CloudKafkaSettings()
    poll: PollSettings = PollSettings()
    samples: SamplesSettings = SamplesSettings()

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

    host: str = "127.0.0.1"
    """address to listen on"""
    port: Annotated[int, Meta(ge=0, le=65535)] = 6065
    """port to listen on; 0: any free one, for tests"""
    stuck_after: Annotated[float, Meta(ge=10)] = 60.0
    """seconds without a sign of life after which a listener is stuck"""
    heartbeat_interval: Annotated[float, Meta(ge=0, le=86400)] = 60.0
    """seconds between two heartbeats, which say of each cloud that it is still listened to, and how
    far behind; 0: none"""


class FilterSettings(_Section, frozen=True, kw_only=True):
    """``[filter]``: what is published without a subscription of its own."""

    enabled: bool = True
    """false: only what subscriptions ask for is published"""
    output: str = ""
    """name of the output; empty: every output"""
    clouds: list[str] = []
    """vim_ids; empty: every cloud"""
    kinds: list[str] = []
    """kinds of events such as DELETE or POWER_OFF; empty: every kind, and measurements"""
    phases: list[Literal["start", "end", "error"]] = []
    """phases of events; empty: every phase, and measurements"""
    tenants: list[str] = []
    """tenant ids; empty: every tenant"""
    meters: list[str] = []
    """meters of measurements, such as cpu_util; empty: every meter"""


class WorkerSettings(_Section, frozen=True, kw_only=True):
    """``[worker]``: the stream worker."""

    store: Literal["rocksdb", "memory"] = "rocksdb"
    """where the instances table lives"""
    session_timeout: Annotated[float, Meta(ge=6)] = 10.0
    """seconds without a heartbeat after which Kafka gives a worker up"""
    standby_replicas: Annotated[int, Meta(ge=0)] = 1
    """workers that keep a warm copy of each partition"""
    poll_records: Annotated[int, Meta(ge=1, le=10000)] = 500
    """records per fetched batch at most"""
    deleted_retention: Annotated[int, Meta(ge=0)] = 86400
    """seconds that a deleted instance stays visible to queries"""
    instances_per_cloud: Annotated[int, Meta(ge=0)] = 200_000
    """instances that one cloud may have, deleted ones as long as they stay visible; notifications
    of further ones are dead letters; 0: any number"""
    action_failures: list[str] = []
    """kinds of actions, e.g. LIVE_MIGRATION_ROLLBACK, whose failure is an alarm although it leaves
    the VM as it was, until one succeeds"""
    action_ends: list[str] = []
    """kinds of actions, e.g. POWER_OFF, whose end is an alarm, until another action leaves the VM
    active or deleted"""
    stuck_after: Annotated[float, Meta(ge=1)] = 60.0
    """seconds without progress, while records wait, after which a worker says that it needs a
    restart"""
    alerts_expire_after: Annotated[float, Meta(ge=1)] = 86400.0
    """seconds without a repetition after which an alarm from outside ages out: more than
    Alertmanager's repeat_interval (4 hours by default)"""


class MetricsSettings(_Section, frozen=True, kw_only=True):
    """``[metrics]``: how measurements are made of samples, where a cloud has [vims.samples]."""

    interval: Literal[10, 15, 20, 30, 60, 120, 300, 600, 900] = 60
    """seconds of one measurement; intervals begin at the full hour"""
    grace: Annotated[int, Meta(ge=0, le=3600)] = 60
    """seconds after an interval in which its samples may still come; later ones are counted, and
    left out"""
    samples_per_cloud: Annotated[int, Meta(ge=0)] = 2_000_000
    """samples of one cloud that all workers keep of an interval while it is open, some 300 bytes
    each; further ones are refused; 0: any number"""
    vm_gauges: bool = False
    """whether each worker tells Prometheus what was measured of its VMs, at /v1/metrics/vms of its
    API: some series for each meter of each VM"""


class AlertsSettings(_Section, frozen=True, kw_only=True):
    """``[alerts]``: what alerts of monitors outside (Alertmanager, aodh) are about."""

    instance_labels: tuple[LabelName, ...] = ("instance_id", "instance_uuid", "server_id")
    """labels (of aodh's alarms by events: traits) that name the instance by its id; the first one
    with a fitting value decides"""
    host_labels: tuple[LabelName, ...] = ("host", "hypervisor_hostname")
    """where none of those does: labels that name the host as nova calls it, with or without a port;
    where these do not, either, an alert is about the cloud"""


class WebUser(_Section, frozen=True, kw_only=True):
    """``[[web.auth.users]]``: who may log in, by a password (Basic) or by a bearer token."""

    name: Annotated[str, Meta(pattern=r"^[^:]+$")]
    """user name, without a colon"""
    password: Secret = Secret()
    """password, or its hash as vimfed hash-password makes it (better: password_file)"""
    password_file: str = ""
    """file that holds the password"""
    token: Secret = Secret()
    """bearer token, 16 characters at least, random (better: token_file)"""
    token_file: str = ""
    """file that holds the token"""
    role: Literal["reader", "writer", "admin"] = "reader"
    """reader: queries and live events; writer: subscriptions and notifications, too; admin:
    everything"""
    clouds: list[str] = []
    """vim_ids of the clouds that the user may see, * matches anything; empty: every cloud"""
    tenants: list[Annotated[str, Meta(min_length=1)]] = []
    """ids of the tenants (projects) whose instances alone the user sees; empty: every tenant"""


class KeystoneSettings(_Section, frozen=True, kw_only=True):
    """``[web.auth.keystone]``: tokens of OpenStack's Keystone, sent as X-Auth-Token."""

    url: str = ""
    """Keystone's URL, without /v3; empty: its tokens are not accepted"""
    ca_file: str = ""
    """PEM file of the authority that signed its certificate"""
    username: str = ""
    """account that validates the tokens; empty: each token validates itself, which Keystone's
    policy allows by default"""
    password: Secret = Secret()
    """its password (better: password_file)"""
    password_file: str = ""
    """file that holds the password"""
    user_domain: str = "Default"
    """name of the account's domain"""
    project: str = "service"
    """name of the account's project"""
    project_domain: str = "Default"
    """name of the project's domain"""
    reader_roles: tuple[str, ...] = ()
    """Keystone's roles that make a reader here"""
    writer_roles: tuple[str, ...] = ()
    """those that make a writer"""
    admin_roles: tuple[str, ...] = ("admin",)
    """those that make an admin"""
    clouds: list[str] = []
    """vim_ids of the clouds whose Keystone it is, the only ones that its users may see; * matches
    anything; needed where [[vims]] names several clouds; empty: every cloud"""
    all_tenants_projects: list[Annotated[str, Meta(pattern=r"^([0-9a-f]{32}|.+@[^@]+)$")]] = []
    """projects whose tokens show the instances of all tenants, as tokens of the system do, and may
    push: name@domain, or the project's id; a token of any other project shows that project's
    instances alone"""
    timeout: Annotated[float, Meta(gt=0)] = 5.0
    """seconds that Keystone has for an answer"""
    cache_seconds: Annotated[float, Meta(ge=0)] = 60.0
    """seconds for which Keystone's word on a token holds, if it does not expire before: as long, a
    token that was revoked is accepted"""
    insecure: bool = False
    """send tokens to an http:// url on another machine: where nobody listens on the way"""


class WebAuthSettings(_Section, frozen=True, kw_only=True):
    """``[web.auth]``: who may use the HTTP API; without users and Keystone: who reaches it."""

    allow_anonymous: bool = False
    """let whoever reaches it do everything, although it listens on more than loopback: where the
    network keeps strangers out"""
    peer_secret: Secret = Secret()
    """by which the workers know each other, the same for all, random, 16 characters at least: it
    signs what they ask and answer, and is never sent; needed with users or Keystone (better:
    peer_secret_file)"""
    peer_secret_file: str = ""
    """file that holds the secret"""
    peer_secret_previous: Secret = Secret()
    """the secret before this one, which is accepted and signs, too, while the workers are given the
    new one (better: peer_secret_previous_file)"""
    peer_secret_previous_file: str = ""
    """file that holds it"""
    users: list[WebUser] = []
    """who may log in"""
    keystone: KeystoneSettings = KeystoneSettings()

    @property
    def is_on(self) -> bool:
        """Whether callers have to log in."""
        return bool(self.users or self.keystone.url)


class WebSettings(_Section, frozen=True, kw_only=True):
    """``[web]``: the HTTP API of each worker."""

    host: str = "127.0.0.1"
    """address to listen on"""
    port: Annotated[int, Meta(ge=1, le=65535)] = 6066
    """port to listen on"""
    monitoring_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """port of its own, over HTTP, for /healthz, /readyz and /metrics, and then the only one for
    /metrics; 0: they are on the API's"""
    prefix: Annotated[str, Meta(pattern=r"^/[^?#]*[^/?#]$")] = "/api/multicloud"
    """path before /v0 and /v1"""
    canonical_url: str = ""
    """URL under which the other workers reach this one; empty: http(s)://host:port, for host
    0.0.0.0 with the address of this machine's, container's or pod's own name"""
    allowed_hosts: list[
        Annotated[str, Meta(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]*]+)(:\d+)?$")]
    ] = []
    """names, each with or without a port, by which workers and gateway are reached, through a proxy
    or without; where nobody has to log in, no others are answered but loopback's and
    canonical_url's, and with allow_anonymous IP addresses"""
    trusted_proxies: list[Annotated[str, Meta(pattern=r"^[0-9A-Fa-f:.]+(/\d{1,3})?$")]] = []
    """addresses or networks (10.0.0.0/24) of proxies in front of workers and gateway:
    X-Forwarded-For of theirs tells who asks, for failed logins and shares, and they may hold all
    connections"""
    live_clients: Annotated[int, Meta(ge=0)] = 2500
    """clients that may follow one worker's live events at once"""
    ingest_rate: Annotated[float, Meta(gt=0)] = 5000.0
    """notifications and bare states a second that one caller may push to one worker"""
    ingest_bytes_rate: Annotated[float, Meta(gt=0)] = 20e6
    """bytes of them a second"""
    cert_file: str = ""
    """PEM file of the server's certificate; with it, HTTPS is served"""
    key_file: str = ""
    """PEM file of its key; empty: in cert_file"""
    ca_file: str = ""
    """PEM file of the authority that signed the workers' certificates, by which they know each
    other"""
    insecure: bool = False
    """let users log in over plain HTTP from other machines: where a proxy on the way speaks TLS, or
    nobody listens"""
    auth: WebAuthSettings = WebAuthSettings()

    @property
    def scheme(self) -> str:
        """Of its URLs: http or https."""
        return "https" if self.cert_file else "http"


class SelfServiceSettings(_Section, frozen=True, kw_only=True):
    """``[self_service]``: tenants who keep subscriptions of their own project."""

    per_project: Annotated[int, Meta(ge=0, le=100)] = 0
    """subscriptions that a project may have, for outputs with {project_id} in their topic; needs
    one, and [web.auth.keystone]; 0: off"""


class GatewayUser(_Section, frozen=True, kw_only=True):
    """``[[gateway.users]]``: who may use topics that are not open."""

    name: Annotated[str, Meta(min_length=1)]
    """user name, or API key of X-CambriaAuth"""
    password: Secret = Secret()
    """password or secret (better: password_file)"""
    password_file: str = ""
    """file that holds the password"""
    publish: list[str] = []
    """topics to which the user may publish; * matches anything"""
    subscribe: list[str] = []
    """topics that the user may read; * matches anything"""


class GatewaySettings(_Section, frozen=True, kw_only=True):
    """``[gateway]``: the Message Router's REST API in front of Kafka."""

    enabled: bool = False
    """vimfed run starts a gateway beside the other processes"""
    host: str = "127.0.0.1"
    """address to listen on"""
    port: Annotated[int, Meta(ge=1, le=65535)] = 3904
    """port to listen on"""
    monitoring_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """port of its own, over HTTP, for /healthz, /readyz and /metrics, and then the only one for
    /metrics; 0: they are on the API's"""
    output: str = ""
    """name of the output whose cluster is served; empty: the first Kafka one"""
    cert_file: str = ""
    """PEM file of the server's certificate; with it, HTTPS is served"""
    key_file: str = ""
    """PEM file of its key; empty: in cert_file"""
    insecure: bool = False
    """let users log in over plain HTTP from other machines: where a proxy on the way speaks TLS, or
    nobody listens"""
    topics: tuple[str, ...] = ("unauthenticated.*",)
    """the only topics that are served, made and listed; * matches anything"""
    allow_anonymous: bool = False
    """without users: let everybody who reaches it publish and read, although it listens on more
    than loopback: where the network keeps strangers out"""
    open_publish: tuple[str, ...] = ()
    """with users: topics to which everybody may publish"""
    open_subscribe: tuple[str, ...] = ("unauthenticated.*",)
    """with users: topics that everybody may read"""
    users: list[GatewayUser] = []
    """who may publish and read; without users everybody may"""

    @property
    def scheme(self) -> str:
        """Of its URLs: http or https."""
        return "https" if self.cert_file else "http"


class LogSettings(_Section, frozen=True, kw_only=True):
    """``[log]``: log records on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """least level"""
    format: Literal["text", "json"] = "text"
    """for people (text) or for programs (json)"""
    audit_file: str = ""
    """file of its own for the audit trail, made readable for its owner alone; empty: it goes with
    the log"""


class TracingSettings(_Section, frozen=True, kw_only=True):
    """``[tracing]``: spans of some requests' way, to the OpenTelemetry collector of OTEL_…"""

    enabled: bool = False
    """begin traces of notifications, and go on with those that records carry: docs/tracing.md;
    needs the packages of the extra, pip install 'vim-event-federation[tracing]'"""
    sample_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.01
    """share of the requests of which bridges trace all notifications"""


class Settings(_Section, frozen=True, kw_only=True):
    """The whole settings file."""

    state_dir: Path = Path(".vimfed")
    """folder of everything that is kept between runs; nobody else may read what is made there"""
    kafka: KafkaSettings = KafkaSettings()
    dmaap: DmaapSettings = DmaapSettings()
    vims: list[VimSettings] = []
    """the clouds"""
    bridge: BridgeSettings = BridgeSettings()
    filter: FilterSettings = FilterSettings()
    worker: WorkerSettings = WorkerSettings()
    alerts: AlertsSettings = AlertsSettings()
    metrics: MetricsSettings = MetricsSettings()
    web: WebSettings = WebSettings()
    self_service: SelfServiceSettings = SelfServiceSettings()
    gateway: GatewaySettings = GatewaySettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()

    @property
    def vim_ids(self) -> frozenset[str]:
        """The vim_ids of the clouds."""
        return frozenset(vim.vim_id for vim in self.vims)

    @property
    def takes_samples(self) -> bool:
        """Whether samples of any cloud are taken: without, there are no topics for them."""
        return any(vim.samples.is_used for vim in self.vims)

    def outputs(self) -> list[DmaapOutput]:
        """Return the configured outputs, or the default one on the cluster of ``[kafka]``."""
        return self.dmaap.outputs or [
            DmaapOutput(url=f"kafka://{self.kafka.bootstrap}/{DEFAULT_DMAAP_TOPIC}")
        ]

    def give_up_after(self, output: DmaapOutput) -> float:
        """Return the seconds after which what an output does not take is dead-lettered."""
        if output.carries == "events":
            return self.dmaap.give_up_after
        return min(self.dmaap.give_up_after, self.kafka.retention.measurements / 2)

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
