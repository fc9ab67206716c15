"""How ``vimfed events`` shows what is told, line by line."""

import pytest

from tests.support.vm_events import alarm_step, heartbeat_event, host_event, vm_event
from vimfed.cli.events import _decode_payload, _show_line
from vimfed.model.records import VmEvent

SINCE = {"changed_at": "2026-01-01T12:00:00.000001Z", "vim_id": "O_R"}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            host_event("c-1", **SINCE),
            "HOST_DOWN    start  host c-1  (host_down)  alarm host_down raised #0",
        ),
        (heartbeat_event(phase="end", **SINCE), "HEARTBEAT    end    the cloud"),
        (
            vm_event(
                "vm-1",
                kind="UNAVAILABLE",
                phase="end",
                old_state="active",
                old_task_state="",
                new_state="active",
                new_task_state="",
                late=False,
                host="c-2",
                reason="moved",
                alarm=alarm_step("vm_unavailable", step="cleared", sequence=1),
                payload={"display_name": "web", "host": "c-1"},
                **SINCE,
            ),
            "UNAVAILABLE  end    web vm-1  active  on c-2  (moved)"
            "  alarm vm_unavailable cleared #1",
        ),
        (
            host_event(
                host="",
                kind="ALERT",
                reason="",
                alarm=alarm_step(
                    "alert/1", severity="critical", name="Fire\x1b[2J", summary="it burns"
                ),
                **SINCE,
            ),
            "ALERT        start  the cloud"
            "  alarm alert/1 raised #0 critical: Fire\\x1b[2J: it burns",
        ),
    ],
)
def test_a_line_names_what_it_is_about_and_the_alarm(
    event: VmEvent, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _show_line(b"", event, _decode_payload(event.payload))
    assert capsys.readouterr().out == f"2026-01-01 12:00:00.000  O_R  {line}\n"
