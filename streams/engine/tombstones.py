"""For how long the changelog keeps the tombstones of deleted rows."""

import logging

from vimfed.kafka.clients import new_admin
from vimfed.kafka.cluster_state import topic_configs
from vimfed.settings import KafkaSettings

LOG = logging.getLogger(__name__)

SETTING = "delete.retention.ms"


async def tombstones_kept(kafka: KafkaSettings, changelog: str) -> float:
    """Return for how many seconds the topic ``changelog`` keeps a tombstone, at least.

    0 where we may not know: no database can be gone on from then. Raises KafkaError.
    """
    admin = new_admin(kafka)
    await admin.start()
    try:
        configs = (await topic_configs(admin, [changelog])).get(changelog, {})
    finally:
        await admin.close()
    if SETTING in configs:
        return int(configs[SETTING]) / 1000
    LOG.warning(
        "cannot read %s of topic %s: each partition is read from the start of its changelog; "
        "grant DescribeConfigs on the topic to avoid that",
        SETTING,
        changelog,
    )
    return 0.0
