"""The clusters and topics of Kafka outputs."""

from urllib.parse import urlsplit

import msgspec

from vimfed.kafka.topics import TopicSpec
from vimfed.settings import DmaapOutput, KafkaSettings, Settings


def dmaap_cluster(settings: Settings, output: DmaapOutput) -> KafkaSettings:
    """Return how to connect to the cluster of ``output``, a Kafka one."""
    cluster = msgspec.structs.replace(settings.kafka, bootstrap=urlsplit(output.url).netloc)
    if not output.security_protocol:
        return cluster
    return msgspec.structs.replace(
        cluster,
        security_protocol=output.security_protocol,
        ca_file=output.ca_file,
        cert_file=output.cert_file,
        key_file=output.key_file,
        sasl_mechanism=output.sasl_mechanism,
        username=output.username,
        password=output.password,
    )


def output_topic(settings: Settings, output: DmaapOutput) -> TopicSpec:
    """Return what the topic of a Kafka output is made like, where it is missing."""
    return TopicSpec(output.topic, settings.kafka.partitions, settings.kafka.replication)


def kafka_outputs(settings: Settings) -> list[DmaapOutput]:
    """Return the outputs that are topics of a Kafka cluster."""
    return [output for output in settings.outputs() if urlsplit(output.url).scheme == "kafka"]
