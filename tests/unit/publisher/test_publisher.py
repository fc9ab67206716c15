"""Which message of an event goes to an output, when several subscriptions want it."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka.structs import ConsumerRecord

from streams.engine.batched_transport import RecordBatch
from streams.publisher.events import read_event
from streams.publisher.health import PublisherCounters
from streams.publisher.publisher import Publisher
from streams.publisher.reading import UnfitRecordError
from streams.subscriptions.filters import Subscription, SubscriptionHistory
from tests.support.vm_events import alarm_step, heartbeat_event, host_event, vm_event
from vimfed.kafka.dead_letter import ONLY_OUTPUT
from vimfed.model.keys import home_key, instance_key
from vimfed.model.records import NewerSchemaError, VmEvent, schema_headers
from vimfed.process.metrics import new_registry
from vimfed.settings import DmaapOutput, Format

LATER = 60_000
"""When Kafka took the events, in ms: all subscriptions hold by then."""


def published(
    event: VmEvent,
    subscriptions: dict[str, Subscription],
    *,
    output_format: Format = "payload",
    url: str = "kafka://a:1/t",
    headers: tuple[tuple[str, bytes], ...] = (),
    heartbeats: bool = False,
) -> list[Any]:
    """Return the messages, as JSON, that the output ``mr`` gets of an event."""
    history = SubscriptionHistory(None)
    for name, subscription in subscriptions.items():
        history.add(name, subscription, 0)
    sent: list[Any] = []

    class Delivery:
        async def deliver(self, messages: Any, _may_go_on: Any) -> None:
            sent.extend(json.loads(message.value) for message in messages)

    async def known(_since: float) -> None:
        pass

    fakes: dict[str, Any] = {
        "reject": None,
        "reread": None,
        "subscriptions": SimpleNamespace(known=known, history=history),
        "delivery": Delivery(),
        **dict.fromkeys(("app", "consumer")),
    }
    publisher = Publisher(
        output=DmaapOutput(name="mr", url=url, format=output_format, heartbeats=heartbeats),
        counters=PublisherCounters(new_registry(), "mr"),
        **fakes,
    )
    value = msgspec.json.encode(event)
    key = home_key(event.vim_id, event.instance_id, event.host or "")
    record = ConsumerRecord("events", 0, 0, LATER, 1, key, value, None, 0, 0, headers)
    batch = RecordBatch([record], 1)
    asyncio.run(publisher.publish(batch, 0))
    assert batch.done
    return sent


def test_an_event_of_a_newer_schema_ends_a_publisher_only_where_a_newer_version_says_so() -> None:
    value = json.dumps({**json.loads(msgspec.json.encode(PAUSED)), "schema_version": 99}).encode()
    key = instance_key(PAUSED.vim_id, PAUSED.instance_id)

    def record(*headers: tuple[str, bytes]) -> ConsumerRecord[bytes, bytes]:
        return ConsumerRecord("events", 0, 0, LATER, 1, key, value, None, 0, 0, headers)

    with pytest.raises(UnfitRecordError, match="not an event: schema version 99"):
        read_event(record())
    with pytest.raises(NewerSchemaError):
        read_event(record(*schema_headers(99)))


def test_an_event_has_the_key_of_what_it_is_about() -> None:
    def record(event: VmEvent, key: bytes) -> ConsumerRecord[bytes, bytes]:
        value = msgspec.json.encode(event)
        return ConsumerRecord("events", 0, 0, LATER, 1, key, value, None, 0, 0, ())

    down, beat = host_event(), heartbeat_event()
    assert read_event(record(down, b"CloudOwner_RegionOne/host/compute-1")).event == down
    assert read_event(record(beat, b"CloudOwner_RegionOne/cloud/")).event == beat
    for key in (b"CloudOwner_RegionOne/", b"CloudOwner_RegionOne/compute-1"):
        with pytest.raises(
            UnfitRecordError, match="key is not CloudOwner_RegionOne/host/compute-1"
        ):
            read_event(record(down, key))


@pytest.mark.parametrize(
    "event",
    [
        host_event(alarm=alarm_step("host_down", started_at="yesterday")),
        host_event(alarm=alarm_step("host_down", started_at="2026-01-01T12:00:00")),
        heartbeat_event(payload=msgspec.Raw(b'{"interval": "soon", "lag": 0}')),
        heartbeat_event(payload=msgspec.Raw(b"{}")),
    ],
)
def test_what_no_worker_writes_of_alarms_and_heartbeats_is_no_event(event: VmEvent) -> None:
    value = msgspec.json.encode(event)
    key = home_key(event.vim_id, event.instance_id, event.host or "")
    with pytest.raises(UnfitRecordError, match="not an event"):
        read_event(ConsumerRecord("events", 0, 0, LATER, 1, key, value, None, 0, 0, ()))


def test_an_output_that_takes_ves_alone_gets_it_whatever_a_subscriptions_format_is() -> None:
    wants = {"a": Subscription(format="payload")}
    (message,) = published(PAUSED, wants, url="ves+kafka://a:1")
    assert message["event"]["commonEventHeader"]["domain"] == "notification"
    (beat,) = published(heartbeat_event(), wants, url="ves+kafka://a:1")
    assert beat["event"]["commonEventHeader"]["domain"] == "heartbeat"


def test_heartbeats_go_to_who_has_a_domain_for_them_or_names_their_kind() -> None:
    beat = heartbeat_event()
    assert published(beat, {"a": Subscription(format="cloudevents")}) == []
    assert published(beat, {"a": Subscription(format="payload", kinds=("HEARTBEAT",))}) == []
    named = Subscription(format="cloudevents", kinds=("HEARTBEAT",))
    (message,) = published(beat, {"a": named})
    assert message["data"]["lag"] == 1.25
    (down,) = published(host_event(), {"a": Subscription(format="cloudevents")})
    assert down["subject"] == "compute-1"


@pytest.mark.parametrize("subscriptions", [{}, {"a": Subscription(kinds=("DELETE",))}])
def test_an_output_that_asks_for_heartbeats_gets_them_whatever_is_subscribed(
    subscriptions: dict[str, Subscription],
) -> None:
    beat = heartbeat_event()
    (message,) = published(beat, subscriptions, heartbeats=True)
    assert (message["interval"], message["lag"]) == (30.0, 1.25)
    assert (message["vim_event"]["kind"], message["vim_event"]["id"]) == ("HEARTBEAT", beat.id)
    (message,) = published(beat, subscriptions, output_format="cloudevents", heartbeats=True)
    assert message["type"] == "org.onap.multicloud.cloud.heartbeat.end"
    assert published(PAUSED, subscriptions, heartbeats=True) == []
    assert published(host_event(), subscriptions, heartbeats=True) == []


PAUSED = vm_event()
"""Of which VES has nothing to say."""
FAILED = vm_event(phase="error", new_state="error")


def test_a_format_that_has_nothing_to_say_takes_no_event_from_another_subscription() -> None:
    both = {"a": Subscription(format="ves"), "b": Subscription(format="payload")}
    (message,) = published(PAUSED, both)
    assert message["vim_event"]["id"] == PAUSED.id
    (message,) = published(FAILED, both)
    assert message["event"]["commonEventHeader"]["eventId"] == FAILED.id
    assert published(PAUSED, {"a": Subscription(format="ves")}) == []


@pytest.mark.parametrize("subscriptions", [{"a": Subscription(format="payload")}, {}])
def test_a_dead_letter_of_the_output_that_is_played_again_is_sent(
    subscriptions: dict[str, Subscription],
) -> None:
    headers = ((ONLY_OUTPUT, b"mr"),)
    (message,) = published(PAUSED, subscriptions, headers=headers)
    assert message["vim_event"]["id"] == PAUSED.id
    assert published(PAUSED, subscriptions, headers=((ONLY_OUTPUT, b"another"),)) == []


def test_a_dead_letter_that_is_played_again_has_the_format_of_the_subscription_that_wants_it() -> (
    None
):
    (message,) = published(
        PAUSED,
        {"a": Subscription(format="payload")},
        output_format="ves",
        headers=((ONLY_OUTPUT, b"mr"),),
    )
    assert message["vim_event"]["id"] == PAUSED.id


PROJECT = "943ecb804cdf4103976b8a02cea12fdb"


@pytest.mark.parametrize(
    ("event", "is_sent"),
    [
        (vm_event(payload={"tenant_id": PROJECT}), True),
        (vm_event(payload={"tenant_id": "demo"}), False),
        (vm_event(payload={"tenant_id": f"{PROJECT}/../x"}), False),
        (vm_event(payload={"tenant_id": ""}), False),
        (vm_event(payload={"tenant_id": None}), False),
        (host_event(), False),
        (host_event(payload=msgspec.Raw(b'{"tenant_id": "%s"}' % PROJECT.encode())), False),
    ],
)
def test_an_output_for_projects_gets_what_is_surely_a_projects(
    event: VmEvent, is_sent: bool
) -> None:
    wanted = {"x": Subscription(output="mr", format="cloudevents")}
    assert bool(published(event, wanted, url="kafka://a:1/t.{project_id}")) is is_sent
    assert published(event, wanted)


def test_a_dead_letter_of_an_output_for_projects_goes_to_its_project_again_and_nowhere_else() -> (
    None
):
    again = ((ONLY_OUTPUT, b"mr"),)
    url = "kafka://a:1/t.{project_id}"
    assert published(vm_event(payload={"tenant_id": PROJECT}), {}, url=url, headers=again)
    assert not published(vm_event(payload={"tenant_id": "demo"}), {}, url=url, headers=again)
