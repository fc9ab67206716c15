"""Properties over generated lives: no order, no repetition and no clock changes what is told."""

import json
import math
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.kinds import EVENT_TYPES
from streams.core.news import InstanceNews, Passed
from streams.core.news import Outcome as Transition
from streams.core.normalise import (
    MalformedNotificationError,
    decode_notification,
    normalise,
)
from streams.core.transition import transition
from tests.simulated_nova import CLOUDS, PLAIN, Cloud, Server, all_told, live, lives, plain_lives
from tests.support.nova_messages import INSTANCE, VIM, in_order, legacy, versioned
from tests.support.playing import Outcome, each_twice, on_two_paths, play
from tests.support.right_outcome import assert_right, assert_told
from vimfed.model.records import InstanceState, Notification, decode_row, encode_event, encode_row

few = settings(max_examples=60, deadline=None)


def end_of(outcome: Outcome) -> tuple[str, str, str, str]:
    row = outcome.rows[INSTANCE]
    return row.vm_state, row.task_state, row.kind, row.phase


def ids_of(outcome: Outcome) -> set[str]:
    ids = [event.id for event in outcome.events]
    assert len(ids) == len(set(ids)), "something was told twice"
    return set(ids)


def moved(one: Notification, **changes: Any) -> Notification:
    return msgspec.structs.replace(one, **changes)


def arriving(notifications: list[Notification]) -> list[Notification]:
    """Return what one path delivers in this order: nothing arrives before what came first."""
    played, last = [], ""
    for one in in_order(*notifications):
        last = max(last, one.received_at)
        played.append(moved(one, received_at=last))
    return played


@given(lives())
@few
def test_a_life_in_order_ends_where_nova_left_it(server: Server) -> None:
    outcome = play(in_order(*all_told(server)))
    assert end_of(outcome)[:2] == (server.state, server.task)
    assert outcome.results["late"] == 0


@given(lives(), st.sampled_from(CLOUDS))
@few
def test_a_life_is_told_right_from_what_any_cloud_sends_of_it(server: Server, cloud: Cloud) -> None:
    assert_right(play(in_order(*cloud.sent(server))), server, cloud)


@given(lives(), st.sampled_from(CLOUDS))
@few
def test_whatever_carries_the_state_sets_it_right_at_once(server: Server, cloud: Cloud) -> None:
    row: InstanceState | None = None
    for offset, told in enumerate(server.told):
        for one in in_order(*cloud.sends(told), begin=2 * offset):
            news = normalise(one)
            assert isinstance(news, InstanceNews)
            row = transition(row, news, offset).row or row
            assert row is not None
            assert told.state in (None, (row.vm_state, row.task_state)), told


@given(lives(), st.sampled_from(CLOUDS), st.randoms(use_true_random=False))
@few
def test_a_life_of_which_each_message_comes_twice_is_told_right(
    server: Server, cloud: Cloud, random: Any
) -> None:
    played = each_twice(in_order(*cloud.sent(server)), random)
    assert_right(play(played), server, cloud)


@given(lives(), st.randoms(use_true_random=False), st.booleans())
@few
def test_a_life_on_two_paths_of_which_one_lags_is_told_right(
    server: Server, random: Any, lagging_versioned: bool
) -> None:
    both = next(cloud for cloud in CLOUDS if cloud.name == "both")
    sent = in_order(*both.sent(server))
    outcome = play(on_two_paths(sent, random, lagging_versioned=lagging_versioned))
    assert_told(outcome, server, both, is_in_order=False)


@given(lives(), st.data())
@few
def test_redeliveries_on_one_path_change_nothing(server: Server, data: st.DataObject) -> None:
    sent = all_told(server)
    clean = play(in_order(*sent))
    delivered = list(sent)
    for _ in range(data.draw(st.integers(1, 40), "redeliveries")):
        original = data.draw(st.integers(0, len(sent) - 1), "which")
        after = data.draw(st.integers(delivered.index(sent[original]), len(delivered)), "where")
        delivered.insert(after + 1, sent[original])
    outcome = play(arriving(delivered))
    assert end_of(outcome) == end_of(clean)
    assert ids_of(outcome) == ids_of(clean)


@given(lives(), st.dictionaries(st.integers(0, 9), st.floats(-30, 30)))
@few
def test_clocks_do_not_matter_on_one_path(server: Server, skews: dict[int, float]) -> None:
    sent = all_told(server)
    publishers = sorted({one.publisher_id for one in sent})
    skewed = []
    for one in sent:
        skew = timedelta(seconds=skews.get(publishers.index(one.publisher_id), 0.0))
        skewed.append(moved(one, timestamp=str(datetime.fromisoformat(one.timestamp) + skew)))
    outcome, clean = play(in_order(*skewed)), play(in_order(*sent))
    assert end_of(outcome) == end_of(clean)
    assert ids_of(outcome) == ids_of(clean)


@given(lives(), st.data())
@few
def test_legacy_and_versioned_paths_may_interleave_in_any_way(
    server: Server, data: st.DataObject
) -> None:
    clean = play(in_order(*all_told(server)))
    paths = [
        in_order(*(moved(t.legacy, path="legacy") for t in server.told if t.legacy)),
        in_order(*(moved(t.versioned, path="versioned") for t in server.told if t.versioned)),
    ]
    delivered = []
    while all(paths):
        run = data.draw(st.integers(1, 20), "run")
        taken = data.draw(st.sampled_from(paths), "path")
        delivered += taken[:run]
        del taken[:run]
    outcome = play(delivered + paths[0] + paths[1])
    assert end_of(outcome) == end_of(clean)
    assert ids_of(outcome) == ids_of(clean)


@given(plain_lives(), st.randoms(use_true_random=False), st.floats(0.01, 3))
@few
def test_messages_on_paths_of_their_own_may_be_delayed_and_repeated(
    server: Server, random: Any, delay: float
) -> None:
    sent = all_told(server)
    clean = play(in_order(*sent))
    arrivals = [
        (datetime.fromisoformat(f"{one.timestamp}Z").timestamp() + random.uniform(0, delay), number)
        for number, one in [*enumerate(sent), *enumerate(sent)]
    ]
    outcome = play(
        moved(
            sent[number],
            path=f"path-{number}",
            received_at=datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds"),
        )
        for at, number in sorted(arrivals)
    )
    assert end_of(outcome) == end_of(clean)
    assert ids_of(outcome) == ids_of(clean)


@given(lives(), st.randoms(use_true_random=False))
@few
def test_nothing_resurrects_a_deleted_instance(server: Server, random: Any) -> None:
    if server.state != "deleted":
        server = live([], deleted=True)
    sent = all_told(server)
    late = [
        moved(one, message_id=f"again {one.message_id}", path=random.choice(["queue", "other"]))
        for one in random.sample(sent, len(sent))
    ]
    future = [
        legacy("power_on.end", at=10_000 + number, message_id=f"f{number}", path="other")
        for number in range(3)
    ]
    row: InstanceState | None = None
    was_deleted = False
    for offset, one in enumerate(in_order(*sent, *late, *future)):
        news = normalise(one)
        assert isinstance(news, InstanceNews)
        row = transition(row, news, offset).row or row
        assert row is not None
        assert not was_deleted or row.vm_state == "deleted"
        was_deleted = row.vm_state == "deleted"
    assert was_deleted


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(
        ["active", "deleted", "None", "2026-01-01 00:00:00", "0001-01-01T00:00+14:00"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def broken_notifications(draw: st.DrawFn) -> Notification:
    """Draw a notification of a known type with values of any kind in any place."""
    event_type = draw(st.sampled_from(sorted(EVENT_TYPES)))
    whole: Any = json.loads(bytes(legacy("update", old=("active", None)).payload))
    if EVENT_TYPES[event_type].shape.startswith("versioned"):
        whole = json.loads(bytes(versioned("update", old=("active", None)).payload))
        place = whole["nova_object.data"]
    else:
        place = whole
    place |= {"request_spec": {"instance_type": {"id": 1}}, "instance_uuid": INSTANCE}
    for key in draw(st.lists(st.sampled_from(sorted(place)), max_size=3)):
        place[key] = draw(json_values)
    return Notification(
        message_id=draw(st.text()),
        event_type=event_type,
        payload=msgspec.Raw(msgspec.json.encode(draw(st.just(whole) | json_values))),
        publisher_id=draw(st.text(max_size=5)),
        timestamp=draw(
            st.sampled_from(["", "None", "9999-12-31 23:59:59-23:59"]) | st.text(max_size=9)
        ),
        request_id=draw(st.none() | st.text(max_size=3)),
        vim_id=VIM,
        path=draw(st.sampled_from(["", "queue"])),
        sequence=draw(st.integers(0, 2**63 - 1)),
        received_at=draw(st.sampled_from(["", "2026-01-01T00:00:00.000000Z", "?"])),
    )


@given(st.lists(broken_notifications(), max_size=8), st.sampled_from([0.0, 60.0, math.inf]))
@settings(max_examples=150, deadline=None)
def test_no_json_value_makes_normalise_or_transition_raise(
    notifications: list[Notification], retention: float
) -> None:
    rows: dict[str, InstanceState] = {}
    for offset, one in enumerate(notifications):
        try:
            decoded = decode_notification(msgspec.json.encode(one))
        except MalformedNotificationError:
            continue
        news = normalise(decoded)
        if isinstance(news, Passed):
            continue
        outcome = transition(rows.get(news.instance_id), news, offset, retention)
        for event in outcome.events:
            encode_event(event)
        if outcome.row is not None:
            rows[news.instance_id] = decode_row(encode_row(outcome.row))


@given(st.binary() | json_values.map(msgspec.json.encode))
@settings(max_examples=150, deadline=None)
def test_bytes_that_are_no_notification_are_refused_by_name(value: bytes) -> None:
    with pytest.raises(MalformedNotificationError):
        decode_notification(value)


def test_text_that_is_not_utf_8_is_refused_even_where_it_would_only_be_passed_on() -> None:
    value = msgspec.json.encode(legacy("pause.end", "paused", fields={"display_name": "NAME"}))
    assert decode_notification(value.replace(b"NAME", "Käse".encode())).message_id
    with pytest.raises(MalformedNotificationError):
        decode_notification(value.replace(b"NAME", b"K\xe4se"))


@pytest.mark.parametrize("seed", range(3))
def test_a_row_stays_bounded_over_200_operations_with_redeliveries(seed: int) -> None:
    choices = [(seed * 31 + 17 * number) % 997 for number in range(200)]
    server = live(choices, deleted=False, gap=0.5, among=PLAIN)
    sent = all_told(server)
    delivered = []
    for number, one in enumerate(sent):
        delivered += [one, sent[max(0, number - 7 * (number % 40))]]
    row: InstanceState | None = None
    told: list[str] = []
    sizes = []
    for offset, one in enumerate(arriving(delivered)):
        news = normalise(one)
        assert isinstance(news, InstanceNews)
        outcome: Transition = transition(row, news, offset)
        row = outcome.row or row
        assert row is not None
        told += [event.id for event in outcome.events]
        sizes.append(len(encode_row(row)))
    assert max(sizes) < 8_000
    assert max(sizes) - len(bytes(row.payload if row else b"")) < 6_500
    assert set(told) == ids_of(play(in_order(*sent)))
    assert len(told) == len(set(told))
    assert row is not None
    assert (row.vm_state, row.task_state) == (server.state, server.task)


_DIGEST = """
import hashlib
from tests.simulated_nova import all_told, live
from tests.support.nova_messages import in_order
from tests.support.playing import play
from vimfed.model.records import encode_event, encode_row
outcome = play(in_order(*all_told(live(list(range(60)), deleted=True))))
told = [*map(encode_event, outcome.events), *map(encode_row, outcome.rows.values())]
print(hashlib.sha256(b"".join(told)).hexdigest())
"""


def test_the_same_input_in_a_new_process_gives_the_same_bytes() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            check=True,
            capture_output=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Kolkata"))
    }
    assert len(digests) == 1
