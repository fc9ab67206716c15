"""What would keep the job from working with a cluster, found without making anything."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.codec import has_lz4, has_snappy, has_zstd
from aiokafka.errors import KafkaConnectionError

from vimfed.kafka.clients import new_admin, no_broker
from vimfed.kafka.cluster_state import DENIED, TopicState, disks, topic_states
from vimfed.kafka.rights import Need, refusal, user_of
from vimfed.kafka.topic_checks import creation_error, right_findings, topic_findings
from vimfed.kafka.topic_settings import Finding
from vimfed.kafka.topics import TopicSpec
from vimfed.settings import CloudKafkaSettings, KafkaConnection, KafkaSettings

MIN_FREE_BYTES = 2 * 1024**3
MIN_FREE_SHARE = 0.05
"""What should be free of a disk; less of either is warned of."""


async def own_findings(
    kafka: KafkaSettings, needs: Sequence[Need], specs: Sequence[TopicSpec]
) -> list[Finding]:
    """Return what is wrong of the job's own cluster, for a process with these needs.

    ``specs`` are the topics that are made where they are missing; their settings are looked at, and
    the brokers. Raises KafkaError, and ConnectionError where no broker answers.
    """
    async with _connected(kafka) as admin:
        states = await _states(admin, needs)
        found = [*_codecs(), *await _brokers(admin, kafka)]
        found += await _topics_and_rights(admin, kafka, needs, specs, states)
        seen = _seen(states)
        there = [spec for spec in specs if spec.name in seen]
        found += await topic_findings(admin, kafka, there, seen)
    return found


async def output_findings(
    kafka: KafkaConnection, needs: Sequence[Need], specs: Sequence[TopicSpec]
) -> list[Finding]:
    """Return what is wrong of the cluster of an output, whose topics are ``specs``.

    Raises KafkaError, and ConnectionError where no broker answers.
    """
    async with _connected(kafka) as admin:
        states = await _states(admin, needs)
        return await _topics_and_rights(admin, kafka, needs, specs, states)


async def _topics_and_rights(
    admin: AIOKafkaAdminClient,
    kafka: KafkaConnection,
    needs: Sequence[Need],
    specs: Sequence[TopicSpec],
    states: Mapping[str, TopicState],
) -> list[Finding]:
    found: list[Finding] = []
    for spec in specs:
        if states.get(spec.name, DENIED) is DENIED:
            found += await _missing(admin, kafka, spec, needs, is_known=spec.name not in states)
    return found + await right_findings(admin, kafka, needs, _seen(states))


async def _states(admin: AIOKafkaAdminClient, needs: Sequence[Need]) -> Mapping[str, TopicState]:
    return await topic_states(admin, {need.name for need in needs if need.kind == "topic"})


def _seen(states: Mapping[str, TopicState]) -> dict[str, TopicState]:
    return {name: state for name, state in states.items() if state is not DENIED}


async def source_findings(kafka: CloudKafkaSettings, needs: Sequence[Need]) -> list[Finding]:
    """Return what is wrong for one who only reads some topics, of which not each must be there.

    Raises KafkaError, and ConnectionError where no broker answers.
    """
    async with _connected(kafka) as admin:
        topics = [need for need in needs if need.kind == "topic"]
        states = await topic_states(admin, [need.name for need in topics])
        seen = {name: state for name, state in states.items() if state is not DENIED}
        found = await right_findings(admin, kafka, needs, seen)
    if topics and not seen:
        names = ", ".join(sorted(need.name for need in topics))
        text = (
            f"there is none of the topics {names}: {kafka.sender} has written to none yet, topics "
            f"is not what its settings say, or {user_of(kafka)} lacks the right Read on them"
        )
        found.append(Finding("topics", text, refused=False))
    return found


@asynccontextmanager
async def _connected(kafka: KafkaConnection) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = new_admin(kafka)
    try:
        try:
            await admin.start()
        except KafkaConnectionError:
            raise ConnectionError(no_broker(kafka)) from None
        yield admin
    finally:
        await admin.close()


async def _missing(
    admin: AIOKafkaAdminClient,
    kafka: KafkaConnection,
    spec: TopicSpec,
    needs: Sequence[Need],
    *,
    is_known: bool,
) -> list[Finding]:
    """Return why a topic that we do not see could not be made, by letting the brokers say so."""
    operations = [each for need in needs if need.name == spec.name for each in need.operations]
    new = NewTopic(spec.name, spec.partitions, spec.replication, topic_configs=spec.configs)
    response = await admin.create_topics([new], validate_only=True)
    error = creation_error(
        kafka, spec, response, " and ".join(dict.fromkeys(operations)), is_missing=is_known
    )
    subject = f"topic {spec.name}"
    if error is not None:
        return [Finding(subject, str(error), refused=True)]
    if not is_known:  # it may be made by us, and is not seen: it is there, or will not be seen
        denied = refusal(kafka, "topic", spec.name, " and ".join(dict.fromkeys(operations)))
        return [Finding(subject, denied, refused=True, denied=True)]
    return []


def _codecs() -> list[Finding]:
    if has_snappy() and has_lz4() and has_zstd():
        return []
    text = "records compressed with snappy, lz4 or zstd cannot be read: pip install cramjam"
    return [Finding("codecs", text, refused=True)]


async def _brokers(admin: AIOKafkaAdminClient, kafka: KafkaSettings) -> list[Finding]:
    brokers = [broker["node_id"] for broker in (await admin.describe_cluster())["brokers"]]
    found = []
    if len(brokers) < kafka.replication:
        text = (
            f"kafka.replication = {kafka.replication}, and {len(brokers)} brokers answer: start "
            "the others, or set kafka.replication to what there are"
        )
        found.append(Finding("brokers", text, refused=len(brokers) < kafka.min_insync_replicas))
    for broker in brokers:
        for disk in await disks(admin, broker):
            text = disk_finding(f"{disk.folder} of broker {broker}", disk.free, disk.total)
            if text:
                found.append(Finding(f"broker {broker}", text, refused=False))
    return found


def disk_finding(what: str, free: int, total: int) -> str:
    """Return one line where too little of a disk is free; both are in bytes."""
    if free >= MIN_FREE_BYTES and free >= MIN_FREE_SHARE * total:
        return ""
    return (
        f"{free / 1024**3:.1f} GiB of the disk under {what} are free, of {total / 1024**3:.1f}: a "
        "full disk stops all writing; make room, or give it a larger one"
    )
