"""Where keys went that a settings file of an earlier release may have."""

from collections.abc import Iterable, Mapping
from typing import Any

_BROKER = {
    "topics": ("topics", "topics"),
    "pool": ("pool", "group"),
    "prefetch": ("prefetch", "poll_records"),
    "consumer_timeout": ("consumer_timeout", "max_poll_interval"),
    "tls": ("tls", "security_protocol"),
    "ca_file": ("ca_file", "ca_file"),
    "cert_file": ("cert_file", "cert_file"),
    "key_file": ("key_file", "key_file"),
    "exchange": ("exchange", ""),
    "durable_queues": ("durable_queues", ""),
    "quorum_queues": ("quorum_queues", ""),
    "durable_exchange": ("durable_exchange", ""),
    "batch_timeout": ("batch_interval", ""),
    "heartbeat": ("heartbeat", ""),
    "sasl_mechanism": ("", "sasl_mechanism"),
    "transport_url": ("transport_urls", "bootstrap, username, password and virtual_host"),
    "transport_url_file": ("transport_urls_file", "bootstrap, username and password_file"),
}
"""Key that stood in ``[[vims]]``: its name in ``[vims.rabbit]``, and in ``[vims.kafka]``; empty: it
has no effect there."""

_POLLER = {
    "auth_url": "auth_url",
    "username": "username",
    "password": "password",
    "password_file": "password_file",
    "project_name": "project_name",
    "user_domain_name": "user_domain_name",
    "project_domain_name": "project_domain_name",
    "application_credential_id": "application_credential_id",
    "application_credential_secret": "application_credential_secret",
    "application_credential_secret_file": "application_credential_secret_file",
    "region_name": "region_name",
    "interface": "interface",
    "api_ca_file": "ca_file",
    "all_projects": "all_projects",
    "poll_interval": "interval",
    "compare_interval": "compare_interval",
    "poll_timeout": "timeout",
}
"""Key that stood in ``[[vims]]``: its name in ``[vims.poll]``."""

MOVED = {
    **{
        old: " or ".join(
            f"{new} in [vims.{section}]"
            for section, new in zip(("rabbit", "kafka"), names, strict=True)
            if new
        )
        for old, names in _BROKER.items()
    },
    **{old: f"{new} in [vims.poll]" for old, new in _POLLER.items()},
}
"""Key that stood in ``[[vims]]``: the words for where it is now."""


MOVED_OF_OUTPUTS = {"ves_kinds": "action_ends in [worker]"}
"""The same of ``[[dmaap.outputs]]``."""


def _what_became_of(key: str, scheme: str) -> str:
    """Return the words for what became of a key, in a cloud with a URL of this scheme."""
    if key not in _BROKER or scheme not in ("rabbit", "kafka"):
        return f"{key} is now {MOVED[key]}"
    new = _BROKER[key][("rabbit", "kafka").index(scheme)]
    if not new:
        return f"{key} has no effect with {scheme}://, remove it"
    return f"{key} is now {new} in [vims.{scheme}]"


def moved_keys(table: Mapping[str, Any]) -> str:
    """Return one line that tells where the old keys of an entry of ``[[vims]]`` went.

    Empty where it has none.
    """
    scheme = str(table.get("transport_url", "")).partition(":")[0]
    return _line(_what_became_of(key, scheme) for key in table if key in MOVED)


def moved_keys_of_output(table: Mapping[str, Any]) -> str:
    """Return the same of an entry of ``[[dmaap.outputs]]``."""
    return _line(f"{key} is now {new}" for key, new in MOVED_OF_OUTPUTS.items() if key in table)


def _line(moved: Iterable[str]) -> str:
    words = "; ".join(moved)
    return words and f"{words} (docs/configuration.md, What moved)"
