"""What the types of the settings do not say: keys that go together, and the forms of addresses."""

import math
import re
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_network
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from vimfed.settings.sections import (
    MAX_PORT,
    MIN_SECRET,
    PROJECT_PLACE,
    CloudKafkaSettings,
    DmaapOutput,
    KafkaSettings,
    PrometheusSettings,
    RabbitSettings,
    Settings,
    SettingsError,
    VimSettings,
    bus_name,
)
from vimfed.settings.values import signing_key

MAX_PROJECT_ID = 36
"""Characters of the longest id of a project."""
MAX_TOPIC = 249
"""Characters that Kafka takes for a topic's name."""

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
    is_right = _is_name(text.partition(":")[0]) if address is None else _is_ipv6(address)
    return is_right and 0 < int(port or 1) <= MAX_PORT


def _is_name(text: str) -> bool:
    """Return whether a resolver can look a name up: none of its labels is empty or too long."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return True


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
    if "@" in parts.netloc:
        raise SettingsError(
            f"{where} names a user: it is shown to others; there are keys for a login"
        )
    return parts


def check_kafka(settings: Settings) -> None:
    """Raise SettingsError where the own cluster cannot be used."""
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
    if settings.dmaap.give_up_after > kafka.retention.events:
        raise SettingsError(
            f"dmaap: give_up_after = {settings.dmaap.give_up_after:g} is more than "
            f"kafka.retention.events = {kafka.retention.events}: events would be gone before"
        )


def check_vims(settings: Settings) -> None:
    """Raise SettingsError where a cloud cannot be listened to or polled, or two are the same."""
    seen: set[str] = set()
    queues: dict[tuple[str, str], str] = {}
    groups: dict[tuple[str, str], str] = {}
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
        where = f"vims: {vim.vim_id}"
        for name, section, key in (
            ("rabbit", vim.rabbit, "transport_urls"),
            ("kafka", vim.kafka, "bootstrap"),
            ("poll", vim.poll, "auth_url"),
            ("samples.rabbit", vim.samples.rabbit, "transport_urls"),
            ("samples.kafka", vim.samples.kafka, "bootstrap"),
            ("samples.prometheus", vim.samples.prometheus, "url"),
        ):
            if not section.is_used and section != type(section)():
                raise SettingsError(f"{where}: [vims.{name}] has no effect without {key}")
        _check_samples(vim, where)
        for what, rabbit, kafka in (
            ("", vim.rabbit, vim.kafka),
            ("samples: ", vim.samples.rabbit, vim.samples.kafka),
        ):
            _check_rabbit(vim.vim_id, what, rabbit, queues)
            if kafka.is_used:
                _check_cloud_kafka(vim.vim_id, what, kafka, groups)
        if vim.poll.is_used:
            _check_poller(vim)
        if vim.samples.prometheus.is_used:
            _check_prometheus(f"{where}: samples.prometheus", settings, vim.samples.prometheus)


def _check_samples(vim: VimSettings, where: str) -> None:
    """Raise SettingsError where what is said of samples has no effect."""
    samples = vim.samples
    is_heard = samples.rabbit.is_used or samples.kafka.is_used
    if samples.telemetry_secret and not is_heard:
        raise SettingsError(
            f"{where}: samples: telemetry_secret has no effect without [vims.samples.rabbit] or "
            "[vims.samples.kafka]"
        )
    # Of a cloud without any source nothing is said: a worker's settings can leave them out.
    is_asked = vim.poll.is_used or samples.prometheus.is_used
    if samples.usage and not vim.notifies and (is_heard or is_asked):
        raise SettingsError(
            f"{where}: samples: usage has no effect without [vims.rabbit] or [vims.kafka], by "
            "which nova notifies of it"
        )


def _check_prometheus(where: str, settings: Settings, prometheus: PrometheusSettings) -> None:
    """Raise SettingsError where a Prometheus cannot be asked, or is asked for nothing."""
    url = _split_url(f"{where}: url", prometheus.url)
    if url.query or url.fragment:
        raise SettingsError(f"{where}: url has more than a path: /api/v1/query is put behind it")
    if prometheus.username and prometheus.bearer_token:
        raise SettingsError(f"{where}: username and bearer_token exclude each other")
    if bool(prometheus.username) != bool(prometheus.password):
        raise SettingsError(f"{where}: username and password go together")
    if not (prometheus.built_in or prometheus.queries):
        raise SettingsError(f"{where}: url needs built_in, or queries, else nothing is asked for")
    if prometheus.delay >= settings.metrics.grace:
        raise SettingsError(
            f"{where}: delay = {prometheus.delay:g} is not less than metrics.grace = "
            f"{settings.metrics.grace}: all samples would come too late"
        )
    seen: set[str] = set()
    for query in prometheus.queries:
        if bool(query.instance_label) == bool(query.host_label):
            raise SettingsError(
                f"{where}: query {query.meter}: say instance_label, or host_label: the label that "
                "names the instance or the host"
            )
        if not (query.factor and math.isfinite(query.factor)):
            raise SettingsError(
                f"{where}: query {query.meter}: factor = {query.factor:g} leaves nothing of a value"
            )
        if query.meter in seen:
            raise SettingsError(f"{where}: query {query.meter} stands there twice")
        seen.add(query.meter)


def _check_rabbit(
    vim_id: str, what: str, rabbit: RabbitSettings, queues: dict[tuple[str, str], str]
) -> None:
    """Raise SettingsError where a bus cannot be listened to, or stands in ``queues`` already.

    ``what`` stands before the names of keys: empty, or ``samples: ``.
    """
    where = f"vims: {vim_id}: {what}transport_urls"
    mine = f"{vim_id}: {what}".removesuffix(": ")
    names = set()
    for url in rabbit.transport_urls:
        check_transport_url(where, url.reveal(), ("rabbit",))
        name = bus_name(url)
        if name in names:
            raise SettingsError(f"{where}: {name} stands there twice")
        names.add(name)
        other = queues.setdefault((name, rabbit.pool), mine)
        if other != mine:
            raise SettingsError(
                f"vims: {other} and {mine} have the same message bus {name} and the same pool: "
                "each would take the other's messages; give one another pool"
            )


def _check_cloud_kafka(
    vim_id: str, what: str, kafka: CloudKafkaSettings, groups: dict[tuple[str, str], str]
) -> None:
    """Raise SettingsError where a Kafka cannot be listened to, or stands in ``groups`` already.

    ``what``: as of ``_check_rabbit``.
    """
    where = f"vims: {vim_id}: {what}kafka"
    mine = f"{vim_id}: {what}".removesuffix(": ")
    if not _are_hosts(kafka.bootstrap):
        raise SettingsError(f"{where}: bootstrap must look like host:port,host:port")
    if bool(kafka.username) != (kafka.login is not None):
        raise SettingsError(
            f"{where}: username and security_protocol = SASL_PLAINTEXT or SASL_SSL go together"
        )
    place = f"{kafka.bootstrap}/{kafka.virtual_host}"
    other = groups.setdefault((place, kafka.group), mine)
    if other != mine:
        raise SettingsError(
            f"vims: {other} and {mine} have the same Kafka {place} and the same group: each "
            "would take the other's messages; give one another group"
        )


def check_transport_url(
    where: str, text: str, schemes: Sequence[str] = ("rabbit", "kafka")
) -> None:
    """Check the URL of a cloud's broker that ``where`` names.

    Raises SettingsError, which quotes neither user nor password.
    """
    scheme = text.partition("://")[0].lower()
    if scheme not in schemes:
        scheme = re.sub(r"[^a-z0-9+.-].*", "...", scheme)
        wanted = " or ".join(f"{each}://" for each in schemes)
        raise SettingsError(f"{where} must begin with {wanted}, not {scheme}://")
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
    poll = vim.poll
    _split_url(f"{where}: auth_url", poll.auth_url)
    if not (poll.username and poll.project_name) and not poll.application_credential_id:
        raise SettingsError(
            f"{where}: auth_url needs username and project_name, or application_credential_id"
        )


class _UrlForm(NamedTuple):
    """How the URLs of a kind of output look."""

    path: str
    """As it is shown."""
    pattern: str
    many_hosts: bool = False


_MESSAGE_ROUTER = _UrlForm("/events/topic", "/events/[A-Za-z0-9._-]+")
_COLLECTOR = _UrlForm(
    "/eventListener/v7", "(/[A-Za-z0-9._~-]+)*/eventListener/v[57]", many_hosts=True
)
_WEBHOOK = _UrlForm("/path", "(/[A-Za-z0-9._~%!$&'()*+,;=:@-]*)*")
_OUTPUT_URLS = {
    "kafka": _UrlForm(
        "/topic", r"/(?=.)[A-Za-z0-9._-]*(\{project_id\}[A-Za-z0-9._-]*)?", many_hosts=True
    ),
    "http": _MESSAGE_ROUTER,
    "https": _MESSAGE_ROUTER,
    "ves+kafka": _UrlForm("", "/?", many_hosts=True),
    "ves+http": _COLLECTOR,
    "ves+https": _COLLECTOR,
    "webhook+http": _WEBHOOK,
    "webhook+https": _WEBHOOK,
}


def _check_inherited_login(kafka: KafkaSettings, brokers: str, where: str) -> None:
    """Raise SettingsError where the login of [kafka] would be given to another cluster."""
    others = _host_names(brokers) - _host_names(kafka.bootstrap)
    has_login = kafka.security_protocol != "PLAINTEXT" and (kafka.password or kafka.cert_file)
    if others and has_login:
        raise SettingsError(
            f"{where}: {', '.join(sorted(others))} is not in kafka.bootstrap, and the login of "
            "[kafka] is for its own cluster: say security_protocol here, and the login of this one"
        )


def _host_names(brokers: str) -> set[str]:
    """Return the hosts of ``host:port,host:port`` without their ports."""
    return {broker.strip().rpartition(":")[0].lower() for broker in brokers.split(",")}


def _check_ves(output: DmaapOutput, where: str) -> None:
    """Raise SettingsError where a VES output has keys that do not go together."""
    if output.is_ves and output.format == "cloudevents":
        raise SettingsError(f'{where}: a {output.scheme}:// output takes format = "ves" alone')
    measures = output.carries == "measurements"
    for domain in output.ves_domains:
        if (domain == "measurement") != measures:
            needed = "events" if measures else "measurements"
            raise SettingsError(
                f'{where}: ves_domains: {domain} is for outputs with carries = "{needed}"'
            )
    is_old = output.ves_version == "5.4"
    if is_old and measures:
        raise SettingsError(
            f'{where}: ves_version = "5.4" has no domain measurement: say "7.2.1" or "7.1"'
        )
    if is_old and "notification" in output.ves_domains:
        raise SettingsError(
            f'{where}: ves_domains: ves_version = "5.4" has no domain notification: leave it out'
        )
    listener = urlsplit(output.url).path.rpartition("/")[2]
    if output.scheme in ("ves+http", "ves+https") and is_old != (listener == "v5"):
        raise SettingsError(
            f"{where}: the url ends in /eventListener/{listener}, and ves_version is "
            f'"{output.ves_version}": /v5 goes with "5.4", /v7 with the others'
        )


def _check_webhook(output: DmaapOutput, where: str) -> None:
    """Raise SettingsError where what is said of a webhook has no effect, or cannot be meant."""
    webhook = output.webhook
    if not output.is_webhook:
        if webhook != type(webhook)():
            raise SettingsError(
                f"{where}: [dmaap.outputs.webhook] has no effect: the url is no webhook+https://"
            )
        return
    if webhook.token and output.username:
        raise SettingsError(f"{where}: webhook.token contradicts username: say one of them")
    if webhook.token and not re.fullmatch("[!-~]+", webhook.token.reveal()):
        raise SettingsError(
            f"{where}: webhook.token must be ASCII without spaces: it goes in a header"
        )
    if webhook.secret_previous and not webhook.secret:
        raise SettingsError(
            f"{where}: webhook.secret_previous needs webhook.secret, the present one"
        )
    for key in ("secret", "secret_previous"):
        if secret := getattr(webhook, key):
            try:
                signing_key(secret)
            except ValueError as error:
                raise SettingsError(f"{where}: webhook.{key} {error}") from None
    for network in webhook.allowed_networks:
        try:
            ip_network(network, strict=False)
        except ValueError:
            raise SettingsError(
                f"{where}: webhook.allowed_networks: {network} is no address or network"
            ) from None


def _check_of_tenants(output: DmaapOutput, where: str) -> None:
    """Raise SettingsError where an output with a topic for each project cannot be used."""
    if not output.is_of_tenants:
        return
    if len(output.topic_of_project("0" * MAX_PROJECT_ID)) > MAX_TOPIC:
        raise SettingsError(f"{where}: a topic's name has at most {MAX_TOPIC} characters")
    if output.heartbeats:
        raise SettingsError(
            f"{where}: heartbeats are of clouds, and no project's: leave it out, the topic has "
            f"{PROJECT_PLACE}"
        )


def check_self_service(settings: Settings) -> None:
    """Raise SettingsError where tenants are to keep subscriptions, and there is no way to."""
    of_tenants = {output.name for output in settings.outputs() if output.is_of_tenants}
    if settings.filter.output in of_tenants:
        raise SettingsError(
            f"filter.output: {settings.filter.output} has a topic for each project, and heeds "
            "subscriptions alone that name it: it cannot be that of the filter"
        )
    if settings.self_service.per_project and not of_tenants:
        raise SettingsError(
            "self_service: per_project needs an output with a topic for each project, such as "
            f"kafka://host:9092/tenants.{PROJECT_PLACE}.vm-events"
        )


def check_outputs(settings: Settings) -> None:
    """Raise SettingsError where an output cannot be used, or two are the same."""
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
        form = _OUTPUT_URLS.get(url.scheme)
        if form is None:
            raise SettingsError(
                f"{where}: url must begin with kafka://, http:// or https://, with "
                "ves+kafka://, ves+http:// or ves+https://, or with webhook+https://, not "
                f"{url.scheme}://"
            )
        if output.is_webhook and url.query:
            raise SettingsError(
                f"{where}: a webhook's url has no query, which others would read: give a token in "
                "webhook.token_file"
            )
        hosts = _are_hosts(url.netloc) and (form.many_hosts or "," not in url.netloc)
        path = re.fullmatch(form.pattern, url.path)
        if not hosts or not path or url.query or url.fragment:
            raise SettingsError(f"{where}: url must look like {url.scheme}://host:port{form.path}")
        if output.is_kafka and not output.security_protocol:
            _check_inherited_login(settings.kafka, url.netloc, where)
        _check_of_tenants(output, where)
        _check_ves(output, where)
        _check_webhook(output, where)
        if output.heartbeats and output.carries == "measurements":
            raise SettingsError(f"{where}: heartbeats are for outputs of events: leave it out")
        # A publisher's settings by themselves may have no clouds.
        if output.carries == "measurements" and settings.vims and not settings.takes_samples:
            raise SettingsError(
                f'{where}: carries = "measurements", and no cloud takes samples: there would never '
                "be one; say in [vims.samples] of a cloud how they come, or leave the output out"
            )
    if settings.filter.output and settings.filter.output not in {
        output.name for output in settings.outputs()
    }:
        raise SettingsError(f"filter.output: there is no output {settings.filter.output!r}")
    served = settings.gateway.output
    if served and served not in {each.name for each in settings.outputs() if each.is_kafka}:
        raise SettingsError(f"gateway.output: there is no output {served!r} on Kafka")


def check_web(settings: Settings) -> None:
    """Raise SettingsError where the HTTP servers would not be reached, or nobody could log in."""
    for each in settings.gateway.users:
        if not each.password:
            raise SettingsError(f"gateway.users: {each.name} needs password, or password_file")
    auth = settings.web.auth
    if settings.web.canonical_url:
        _split_url("web: canonical_url", settings.web.canonical_url)
    for proxy in settings.web.trusted_proxies:
        try:
            ip_network(proxy, strict=False)
        except ValueError:
            raise SettingsError(f"web: trusted_proxies: {proxy} is no address or network") from None
    if settings.web.key_file and not settings.web.cert_file:
        raise SettingsError("web: key_file needs cert_file")
    for name, server in (("web", settings.web), ("gateway", settings.gateway)):
        if server.monitoring_port == server.port:
            raise SettingsError(
                f"{name}: port and monitoring_port are both {server.port}: choose another, or "
                "monitoring_port = 0 to have probes and metrics on the API's port"
            )
    seen: set[str] = set()
    for user in auth.users:
        where = f"web.auth.users: {user.name}"
        if user.name in seen:
            raise SettingsError(f"{where} stands there twice")
        seen.add(user.name)
        if bool(user.password) == bool(user.token):
            raise SettingsError(f"{where} needs either a password or a token")
        if user.token and len(user.token) < MIN_SECRET:
            raise SettingsError(f"{where}: a token has {MIN_SECRET} characters at least")
    if auth.is_on and auth.allow_anonymous:
        raise SettingsError("web.auth: allow_anonymous contradicts users and keystone")
    if auth.is_on and not auth.peer_secret:
        raise SettingsError(
            "web.auth: with users or keystone the workers need peer_secret, or peer_secret_file, "
            "to know each other: the same random text for all of them"
        )
    if auth.peer_secret_previous and not auth.peer_secret:
        raise SettingsError("web.auth: peer_secret_previous needs peer_secret, the present one")
    for key in ("peer_secret", "peer_secret_previous"):
        if 0 < len(getattr(auth, key)) < MIN_SECRET:
            raise SettingsError(f"web.auth: {key} has {MIN_SECRET} characters at least")
    _check_keystone(settings)


def _check_keystone(settings: Settings) -> None:
    """Raise SettingsError where Keystone cannot be asked, or it is open which clouds are its."""
    keystone = settings.web.auth.keystone
    if keystone.url:
        _split_url("web.auth.keystone: url", keystone.url)
    if bool(keystone.username) != bool(keystone.password):
        raise SettingsError("web.auth.keystone: username and password go together")
    if keystone.url and len(settings.vims) > 1 and not keystone.clouds:
        raise SettingsError(
            "web.auth.keystone: several clouds stand in [[vims]]: name in clouds those whose "
            'Keystone it is, or all: clouds = ["*"]'
        )
