"""What must hold of alarms and episodes in any sequence of events, from whichever source."""

from collections.abc import Iterable

from vimfed.model.records import AlarmStep, VmEvent

_PAIRED = ("UNAVAILABLE", "HOST_DOWN", "HOST_DISABLED")


def assert_alarms_live(events: Iterable[VmEvent]) -> dict[tuple[str, str], AlarmStep]:
    """Assert that alarms are raised once, change, and are cleared once; return the active ones.

    By source and condition; a repetition of an event (the same id) counts once.
    """
    active: dict[tuple[str, str], AlarmStep] = {}
    ids: set[str] = set()
    seen: set[str] = set()
    for event in events:
        if event.id in seen or not isinstance(event.alarm, AlarmStep):
            continue
        seen.add(event.id)
        step = event.alarm
        source = (f"{event.vim_id}/{event.instance_id or event.host}", step.condition)
        before = active.get(source)
        if step.step == "raised":
            assert before is None, f"raised twice: {source}"
            assert step.id not in ids, "an id was used before"
            assert step.sequence == 0
            ids.add(step.id)
        else:
            assert before is not None, f"{step.step}, but not raised: {source}"
            assert (step.id, step.started_at) == (before.id, before.started_at)
            assert step.sequence == before.sequence + 1
        if step.step == "cleared":
            del active[source]
        else:
            active[source] = step
    return active


def assert_episodes_alternate(events: Iterable[VmEvent]) -> None:
    """Assert that each source's episodes of a kind begin and end in turn, once each."""
    running: dict[tuple[str, str], bool] = {}
    seen: set[str] = set()
    for event in events:
        if event.kind not in _PAIRED or event.id in seen:
            continue
        seen.add(event.id)
        source = (event.instance_id or str(event.host), event.kind)
        assert running.get(source, False) == (event.phase == "end"), f"{source} {event.phase}"
        running[source] = event.phase == "start"
