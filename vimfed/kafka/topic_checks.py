"""The topics of the job: created where they are missing, and checked before they are used."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)

from vimfed.kafka.clients import (
    AccessDeniedError,
    TopicMismatchError,
    TopicUnavailableError,
    new_admin,
    no_broker,
)
from vimfed.kafka.cluster_state import (
    DENIED,
    TopicState,
    group_operations,
    topic_configs,
    topic_states,
)
from vimfed.kafka.rights import Need, refusal, user_of
from vimfed.kafka.topic_settings import (
    Finding,
    partitions_finding,
    replication_findings,
    settings_findings,
)
from vimfed.kafka.topics import TopicSpec, topic_specs
from vimfed.settings import KafkaConnection, KafkaSettings

LOG = logging.getLogger(__name__)

DESCRIBE_ATTEMPTS = 20


async def ensure_topics(kafka: KafkaSettings, needs: Sequence[Need] | None = None) -> list[str]:
    """Make sure that a process can work: create topics that are missing, check all that it needs.

    ``needs`` are those of the process; None: every topic of the job, whatever we may do with it.
    Returns the names of the topics that were created; warns of what is not as it should be. Raises
    TopicMismatchError where a topic is not as it has to be, AccessDeniedError where a right is
    missing, and KafkaError. Must be done before a worker starts: Faust never picks up a topic that
    appears later, and aiokafka's consumer waits for ever where it may not read the group.
    """
    specs = specs_of(kafka, needs)
    admin = new_admin(kafka)
    await admin.start()
    try:
        states = await topic_states(admin, [spec.name for spec in specs])
        rights = {need.name: " and ".join(need.operations) for need in needs or ()}
        created = [
            spec.name
            for spec in specs
            if await _is_created(admin, kafka, spec, states, rights.get(spec.name, "Describe"))
        ]
        for spec in specs:
            await _known(admin, kafka, spec.name, states)
        found = [
            *await right_findings(admin, kafka, needs or (), states),
            *await topic_findings(
                admin, kafka, [spec for spec in specs if spec.name not in created], states
            ),
        ]
    finally:
        await admin.close()
    for finding in found:
        if not finding.refused:
            LOG.warning("%s", finding.text)
    for finding in found:
        if finding.refused:
            raise (AccessDeniedError if finding.denied else TopicMismatchError)(finding.text)
    return created


async def ensure_topic(kafka: KafkaConnection, spec: TopicSpec) -> bool:
    """Create one topic where it is missing; return whether it was. It may be like anything.

    Raises AccessDeniedError where it is missing and we may not create it.
    """
    admin = new_admin(kafka)
    await admin.start()
    try:
        states = await topic_states(admin, [spec.name])
        return await _is_created(admin, kafka, spec, states, "Write")
    finally:
        await admin.close()


async def _is_created(
    admin: AIOKafkaAdminClient,
    kafka: KafkaConnection,
    spec: TopicSpec,
    states: Mapping[str, TopicState],
    rights: str,
) -> bool:
    """Create a topic if we do not see it; return whether it was missing. Raises TopicMismatchError.

    ``rights`` are those that we need on it, for the error.
    """
    state = states.get(spec.name)
    if state not in (None, DENIED):
        return False
    new = NewTopic(spec.name, spec.partitions, spec.replication, topic_configs=spec.configs)
    response = await admin.create_topics([new])
    error = creation_error(kafka, spec, response, rights, is_missing=state is None)
    if error is not None:
        raise error
    return bool(response.topic_errors[0][1] != TopicAlreadyExistsError.errno)


def creation_error(
    kafka: KafkaConnection, spec: TopicSpec, response: Any, rights: str, *, is_missing: bool
) -> TopicMismatchError | None:
    """Return what the answer to a request to make one topic says is wrong; None: nothing.

    ``rights`` are those that we need on it; ``is_missing`` whether it is known not to be there.
    """
    _topic, code, *message = response.topic_errors[0]
    if code in (0, TopicAlreadyExistsError.errno):
        return None
    if code not in (TopicAuthorizationFailedError.errno, ClusterAuthorizationFailedError.errno):
        return TopicMismatchError(f"cannot create topic {spec.name}: {message[0] or code}")
    return AccessDeniedError(
        f"there is no topic {spec.name}, and {user_of(kafka)} lacks the right Create on it: "
        "create it, or grant that; vimfed topics prints the commands"
        if is_missing
        else refusal(kafka, "topic", spec.name, rights)
    )


async def _known(
    admin: AIOKafkaAdminClient, kafka: KafkaConnection, name: str, states: dict[str, TopicState]
) -> TopicState:
    """Return a topic's state as soon as the broker knows it: it learns of a new one a bit later.

    ``states`` is kept up to date. Raises AccessDeniedError and KafkaConnectionError.
    """
    for attempt in range(DESCRIBE_ATTEMPTS):
        if name in states:
            if states[name] is DENIED:
                raise AccessDeniedError(refusal(kafka, "topic", name, "Describe"))
            return states[name]
        await asyncio.sleep(0.1 * attempt)
        states.update(await topic_states(admin, [name]))
    raise KafkaConnectionError(f"the brokers do not know {name} yet")


def specs_of(kafka: KafkaSettings, needs: Sequence[Need] | None) -> list[TopicSpec]:
    """Return what the topics of ``needs`` must be like; None: all of the job's."""
    names = None if needs is None else {need.name for need in needs if need.kind == "topic"}
    return [spec for spec in topic_specs(kafka) if names is None or spec.name in names]


async def right_findings(
    admin: AIOKafkaAdminClient,
    kafka: KafkaConnection,
    needs: Sequence[Need],
    states: Mapping[str, TopicState],
) -> list[Finding]:
    """Return which of the rights are missing; a topic that is not in ``states`` is passed over.

    Raises KafkaError.
    """
    found = []
    for need in needs:
        if need.kind == "group":
            allowed = await group_operations(admin, need.name)
        else:
            allowed = states[need.name].operations if need.name in states else None
        missing = (
            [] if allowed is None else [each for each in need.operations if each not in allowed]
        )
        if missing:
            text = refusal(kafka, need.kind, need.name, " and ".join(missing))
            found.append(Finding(f"{need.kind} {need.name}", text, refused=True, denied=True))
    return found


async def topic_findings(
    admin: AIOKafkaAdminClient,
    kafka: KafkaSettings,
    specs: Sequence[TopicSpec],
    states: Mapping[str, TopicState],
) -> list[Finding]:
    """Return what of existing topics is not as the job needs it. Raises KafkaError."""
    configs = await topic_configs(admin, [spec.name for spec in specs])
    found = []
    for spec in specs:
        wrong = partitions_finding(spec, states[spec.name])
        found += [wrong] if wrong else []
        if spec.name in configs:
            found += replication_findings(spec, states[spec.name], configs[spec.name])
            found += settings_findings(kafka, spec, configs[spec.name])
        else:
            denied = refusal(kafka, "topic", spec.name, "DescribeConfigs")
            text = f"the settings of topic {spec.name} are not checked: {denied}"
            found.append(Finding(f"topic {spec.name}", text, refused=False, denied=True))
    return found


async def check_topic(kafka: KafkaSettings, name: str) -> None:
    """Check that one of the job's topics is there as the settings say, before it is read.

    Whoever asks for offsets of a topic that is not there may make it, as the brokers would. Raises
    TopicUnavailableError and TopicMismatchError.
    """
    admin = new_admin(kafka)
    try:
        await admin.start()
        state = (await topic_states(admin, [name])).get(name)
        if state is None:
            raise TopicUnavailableError(
                f"there is no topic {name}: a bridge or worker makes it when it is started; is "
                "kafka.topic_prefix right?"
            )
        if state.operations is not None and "Read" not in state.operations:
            raise AccessDeniedError(refusal(kafka, "topic", name, "Read"))
        spec = next(spec for spec in topic_specs(kafka) if spec.name == name)
        wrong = partitions_finding(spec, state)
        if wrong is not None:
            raise TopicMismatchError(wrong.text)
    except KafkaConnectionError:
        raise TopicUnavailableError(f"{no_broker(kafka)}: is kafka.bootstrap right?") from None
    finally:
        await admin.close()
