"""The clusters and topics of Kafka outputs."""

from urllib.parse import urlsplit

from vimfed.kafka.topics import TopicSpec
from vimfed.settings import DmaapOutput, KafkaConnection, Settings


def dmaap_cluster(settings: Settings, output: DmaapOutput) -> KafkaConnection:
    """Return how to connect to the cluster of ``output``, a Kafka one."""
    how = settings.kafka if not output.security_protocol else output
    return KafkaConnection(
        bootstrap=urlsplit(output.url).netloc,
        security_protocol=output.security_protocol or settings.kafka.security_protocol,
        ca_file=how.ca_file,
        cert_file=how.cert_file,
        key_file=how.key_file,
        sasl_mechanism=how.sasl_mechanism,
        username=how.username,
        password=how.password,
    )


def output_topics(settings: Settings, output: DmaapOutput) -> list[TopicSpec]:
    """Return what the topics of a Kafka output are made like, where they are missing."""
    kafka = settings.kafka
    return [TopicSpec(name, kafka.partitions, kafka.replication) for name in output.topics]


def kafka_outputs(settings: Settings) -> list[DmaapOutput]:
    """Return the outputs that are topics of a Kafka cluster."""
    return [output for output in settings.outputs() if output.is_kafka]
