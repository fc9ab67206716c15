"""What a found action tells that is not the last one, and how reports that tell nothing count."""

import json
import uuid

import pytest

from streams.core.inference import HISTORY
from streams.core.transition import has_outlived
from tests.support.bare_states import bare
from tests.support.nova_messages import INSTANCE, VIM, legacy, notification
from tests.support.playing import play
from vimfed.model.records import Phase

DAY = 86_400.0


@pytest.mark.parametrize(
    ("kind", "phase", "states"),
    [
        ("POWER_OFF", "start", ("paused", "powering-off")),
        ("POWER_OFF", "end", ("stopped", "")),
        ("POWER_OFF", "error", ("paused", "")),
        ("LOCK", "start", ("paused", "")),
        ("LOCK", "end", ("paused", "")),
    ],
)
def test_a_found_action_without_a_state_tells_the_states_that_its_kind_says(
    kind: str, phase: Phase, states: tuple[str, str]
) -> None:
    found = bare("", at=5, action=(kind, phase, "req-9"))
    outcome = play([legacy("pause.end", "paused", at=1), found])
    event = outcome.events[-1]
    assert (event.kind, event.phase, event.inferred) == (kind, phase, False)
    assert (event.new_state, event.new_task_state) == states
    payload = json.loads(bytes(event.payload))
    assert (payload["state"], payload["state_description"]) == states
    # The row keeps the state that it was told.
    assert outcome.state(INSTANCE) == ("paused", "")


def test_an_inferred_event_has_an_id_of_its_own_that_a_repetition_shares() -> None:
    seen = bare("stopped", at=5)
    outcome = play([legacy("power_on.end", "active", at=1), seen, seen])
    (event,) = outcome.events[1:]
    namespace = uuid.UUID("6f0f5f3e-8a1d-5c0c-9a3b-2f64b7a1c9d2")
    name = f"{VIM}/{INSTANCE}/POWER_OFF/end/{seen.message_id}/"
    assert event.id == str(uuid.uuid5(namespace, name))
    assert outcome.results == {"changed": 2, "duplicate": 1}


def test_what_a_known_actions_finding_shows_besides_has_an_id_of_its_own() -> None:
    made = legacy("create.end", "active", at=1, request="req-9")
    found = bare("paused", at=9, action=("CREATE", "end", "req-9"), host="compute01")
    event = play([made, found]).events[-1]
    assert (event.kind, event.inferred) == ("PAUSE", True)
    namespace = uuid.UUID("6f0f5f3e-8a1d-5c0c-9a3b-2f64b7a1c9d2")
    name = f"{VIM}/{INSTANCE}/PAUSE/end/{found.message_id}/"
    assert event.id == str(uuid.uuid5(namespace, name))


def test_reports_that_tell_nothing_are_counted_by_why() -> None:
    stop = legacy("power_off.end", "stopped", at=10, request="req-9")
    known = bare("", at=10, action=("POWER_OFF", "end", "req-9"))
    late = bare("active", at=5)
    assert play([stop, known]).results == {"changed": 1, "known": 1}
    assert play([stop, late]).results == {"changed": 1, "late": 1}
    gone = legacy("delete.end", "deleted", at=10)
    again = bare("active", at=20)
    assert play([gone, again]).results == {"changed": 1, "after_deletion": 1}


def test_a_state_that_is_an_hour_old_when_an_instance_is_first_seen_is_news_and_no_more() -> None:
    assert len(play([bare("stopped", at=HISTORY, since=0)]).events) == 1
    assert len(play([bare("stopped", at=HISTORY + 1, since=0)]).events) == 0


def test_a_report_tells_the_power_state() -> None:
    report = notification(
        "vimfed.instance.state",
        {"instance_id": INSTANCE, "state": "active", "power_state": "running"},
        publisher="poller:",
    )
    assert play([report]).rows[INSTANCE].power_state == "running"


def test_a_deleted_instance_outlives_nothing_by_less_than_its_retention() -> None:
    row = play([legacy("delete.end", "deleted")]).rows[INSTANCE]
    assert row.received_at == "2026-01-01T12:00:00.123456Z"
    assert not has_outlived(row, "2026-01-02T12:00:00.123456Z", DAY)
    assert has_outlived(row, "2026-01-02T12:00:01.123456Z", DAY)
    assert not has_outlived(row, "no time", 0.5)
