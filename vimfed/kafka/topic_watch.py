"""The job's topics while a process runs: one that is gone, or was made anew, is told."""

import asyncio
from collections.abc import Sequence

from aiokafka.errors import KafkaError

from vimfed.kafka.clients import TopicMismatchError, new_admin
from vimfed.kafka.cluster_state import DENIED, topic_states
from vimfed.kafka.rights import Need, refusal
from vimfed.kafka.topic_checks import specs_of
from vimfed.kafka.topic_settings import partitions_finding
from vimfed.settings import KafkaSettings

LOOK_EVERY = 15.0
"""Seconds between two looks."""


async def wrong_topic(kafka: KafkaSettings, needs: Sequence[Need]) -> TopicMismatchError:
    """Return what is wrong with a topic of ``needs``, once two looks in a row have found it so.

    It does not return before. A broker that has just started may not know every topic at once;
    while none answers, nothing is found.
    """
    found, before = "", ""
    while not found or found != before:
        await asyncio.sleep(LOOK_EVERY)
        before, found = found, await _look(kafka, needs)
    return TopicMismatchError(found)


async def _look(kafka: KafkaSettings, needs: Sequence[Need]) -> str:
    """Return what is wrong with the first topic of which something is; empty: nothing."""
    specs = specs_of(kafka, needs)
    admin = new_admin(kafka)
    try:
        await admin.start()
        states = await topic_states(admin, [spec.name for spec in specs])
    except (KafkaError, OSError):
        return ""
    finally:
        await admin.close()
    for spec in specs:
        state = states.get(spec.name)
        if state is None:
            return (
                f"topic {spec.name} is gone from Kafka, and what was in it: restore it, or start "
                "this process again, and it is made anew"
            )
        if state is DENIED:
            return refusal(kafka, "topic", spec.name, "Describe")
        wrong = partitions_finding(spec, state)
        if wrong is not None:
            return wrong.text
    return ""
