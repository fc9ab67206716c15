"""What other packages name of aiokafka: its types and errors.

aiokafka itself is imported here, in the other modules of this package, and in the engine alone
(pyproject.toml, importlinter). Clients are made in clients.py.
"""

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    TopicPartition,
)
from aiokafka.errors import (
    CommitFailedError,
    KafkaError,
    KafkaTimeoutError,
    ProducerClosed,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import ConsumerRecord

__all__ = [
    "AIOKafkaConsumer",
    "AIOKafkaProducer",
    "CommitFailedError",
    "ConsumerRebalanceListener",
    "ConsumerRecord",
    "KafkaError",
    "KafkaTimeoutError",
    "ProducerClosed",
    "TopicAuthorizationFailedError",
    "TopicPartition",
]
