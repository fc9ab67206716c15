"""``vimfed kafka``: the local broker in the foreground."""

import click

from vimfed.local.kafka import LocalKafka
from vimfed.local.stop_signals import StopSignals
from vimfed.process.ports import LAST_PORT
from vimfed.settings import Settings, SettingsError


def local_kafka_of(settings: Settings) -> LocalKafka:
    """Return the local broker, unstarted, that the settings describe. Raises SettingsError."""
    host, _, port = settings.kafka.bootstrap.rpartition(":")
    if host not in ("127.0.0.1", "localhost") or not port.isdigit():
        raise SettingsError(
            "a local Kafka listens on loopback only: set kafka.bootstrap to 127.0.0.1:PORT, "
            f"not to {settings.kafka.bootstrap}"
        )
    if not 0 < int(port) < LAST_PORT:
        raise SettingsError(
            f"a local Kafka cannot listen on port {port} and the next one: set kafka.bootstrap to "
            "another 127.0.0.1:PORT"
        )
    if settings.kafka.security_protocol != "PLAINTEXT":
        raise SettingsError(
            "a local Kafka knows neither TLS nor SASL: leave kafka.security_protocol at PLAINTEXT"
        )
    return LocalKafka(settings.state_dir / "kafka", int(port), int(port) + 1)


def run(settings: Settings) -> int:
    """Run the broker until SIGTERM or SIGINT; return the exit code. Raises OperatorError."""
    stop = StopSignals()
    with local_kafka_of(settings) as broker:
        click.echo(f"Kafka is ready on {broker.bootstrap} (log: {broker.log})", err=True)
        while not stop.wait(0.5):
            broker.check_alive()
    return 0
