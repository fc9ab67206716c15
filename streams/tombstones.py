"""For how long the changelog keeps the tombstones of deleted rows."""

import logging

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from vimfed.kafka import client_options
from vimfed.settings import KafkaSettings

LOG = logging.getLogger(__name__)

SETTING = "delete.retention.ms"


async def tombstones_kept(kafka: KafkaSettings, changelog: str) -> float:
    """Return for how many seconds the topic ``changelog`` keeps a tombstone, at least.

    0 where we may not know: no database can be gone on from then. Raises KafkaError.
    """
    admin = AIOKafkaAdminClient(**client_options(kafka))
    await admin.start()
    try:
        resource = ConfigResource(ConfigResourceType.TOPIC, changelog, {SETTING: None})
        (answer,) = await admin.describe_configs([resource])
    finally:
        await admin.close()
    code, message, _type, _name, entries = answer.resources[0][:5]
    values = {name: value for name, value, *_rest in entries}
    if code or SETTING not in values:
        LOG.warning(
            "cannot read %s of topic %s (%s): each partition is read from the start of its "
            "changelog; grant DescribeConfigs on the topic to avoid that",
            SETTING,
            changelog,
            message or code,
        )
        return 0.0
    return int(values[SETTING]) / 1000
