"""What is known of an output that was paused."""

from streams.subscriptions.switches import OutputSwitches, Paused, encode_paused


def test_when_an_output_was_resumed_is_known_to_who_reads_it_later() -> None:
    switches = OutputSwitches()
    assert (switches.paused_at("onap"), switches.resumed_at("onap")) == ("", 0)
    switches.add("onap", encode_paused(Paused(paused_at="2026-01-01T12:00:00Z")), 1000)
    assert switches.paused_at("onap") == "2026-01-01T12:00:00Z"
    switches.add("onap", None, 2000)
    assert (switches.paused_at("onap"), switches.resumed_at("onap")) == ("", 2000)
    assert switches.resumed_at("other") == 0
