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


def output_topic(settings: Settings, output: DmaapOutput) -> TopicSpec:
    """Return what the topic of a Kafka output is made like, where it is missing."""
    return TopicSpec(output.topic, settings.kafka.partitions, settings.kafka.replication)


def kafka_outputs(settings: Settings) -> list[DmaapOutput]:
    """Return the outputs that are topics of a Kafka cluster."""
    return [output for output in settings.outputs() if urlsplit(output.url).scheme == "kafka"]
