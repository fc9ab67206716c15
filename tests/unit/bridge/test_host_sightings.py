"""What follows from a cloud's lists of compute services, answer by answer."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.hosts.sightings import Sightings
from bridge.poller.nova_api import ComputeService
from vimfed.nova.host_report import HostReport


def service(host: str = "h", state: str = "up", **more: Any) -> ComputeService:
    said = {"status": "enabled", "forced_down": False, **more}
    return ComputeService(host=host, binary="nova-compute", state=state, **said)


DOWN = service(state="down")
UP = service()
FORCED = service(state="down", forced_down=True)
UNKNOWN = ComputeService(host="h", binary="nova-compute", status="UNKNOWN")


class Watched:
    """Sightings of a cloud, and shorthand for what they say after an answer."""

    def __init__(self) -> None:
        self.sightings = Sightings()

    def __call__(
        self, *services: ComputeService, is_whole: bool = True, repeat: bool = False
    ) -> list[HostReport]:
        return self.sightings.heed(services, is_whole=is_whole, repeat=repeat)


def undisturbed(host: str = "h", *, is_up: bool | None = True) -> HostReport:
    return report(host, is_up=is_up)


def report(host: str = "h", **said: Any) -> HostReport:
    usual = {"forced_down": False, "disabled": False, "disabled_reason": "", "is_known": True}
    return HostReport(host=host, **{**usual, **said})


def test_all_hosts_are_told_at_the_start_once_they_were_seen_twice() -> None:
    watched = Watched()
    assert watched(UP, service("d", "down")) == []
    assert watched(UP, service("d", "down")) == [undisturbed("d", is_up=False), undisturbed()]
    assert watched(UP, service("d", "down")) == []
    assert watched(UP, repeat=True) == [undisturbed()]


def test_down_and_up_count_when_two_answers_say_so() -> None:
    watched = Watched()
    watched(UP), watched(UP)
    assert watched(DOWN) == []
    assert watched(UP) == []
    assert watched(DOWN) == []
    assert watched(DOWN) == [undisturbed(is_up=False)]
    assert watched(UP) == []
    assert watched(UP) == [undisturbed()]


def test_while_an_answer_is_in_doubt_nothing_is_said_of_up_or_down() -> None:
    watched = Watched()
    watched(UP), watched(UP)
    assert watched(DOWN, repeat=True) == [undisturbed(is_up=None)]
    watched(UP)
    disabled = service(state="down", status="disabled", disabled_reason="kernel")
    assert watched(disabled) == [report(disabled=True, disabled_reason="kernel")]


def test_what_was_ordered_is_told_at_once() -> None:
    watched = Watched()
    forced = report(forced_down=True)
    assert watched(FORCED) == [forced]
    assert watched(FORCED) == []
    assert watched(UP) == [undisturbed()]  # with the state in which it comes back
    disabled = service(status="disabled", disabled_reason="r" * 300)
    (told,) = watched(disabled)
    assert (told.disabled, told.disabled_reason) == (True, "r" * 255)
    assert watched(UP) == [undisturbed()]


def test_a_dead_host_that_is_no_longer_forced_down_stays_down() -> None:
    watched = Watched()
    watched(UP), watched(UP)
    assert watched(FORCED)[0].is_up is None
    assert watched(DOWN) == [undisturbed(is_up=False)]


def test_a_host_whose_cell_is_down_is_neither_down_nor_gone_but_unknown() -> None:
    watched = Watched()
    unknown = HostReport(host="h", is_known=False)
    watched(UP), watched(UP)
    assert watched(UNKNOWN) == [unknown]
    assert watched(UNKNOWN) == []
    assert watched(UNKNOWN, repeat=True) == [unknown]
    assert watched.sightings.unknown == {"h"}
    assert watched(DOWN) == [undisturbed(is_up=None)]
    assert watched(DOWN) == [undisturbed(is_up=False)]
    assert watched.sightings.unknown == set()


def test_what_two_whole_answers_lack_is_gone() -> None:
    watched = Watched()
    other = service("other")
    watched(UP, other), watched(UP, other)
    gone = HostReport(host="h", is_gone=True)
    assert watched(other) == []
    assert watched(UP, other) == []
    assert watched(other) == []
    assert watched(other) == [gone]
    assert watched(other) == []
    assert watched(UP, other) == []
    assert watched(UP, other) == [undisturbed()]


def test_answers_that_are_not_whole_or_empty_make_no_host_gone() -> None:
    watched = Watched()
    other = service("other")
    watched(UP, other), watched(UP, other)
    for _answer in range(3):
        assert watched(other, is_whole=False) == []
        assert watched() == []
    assert watched(other) == []


def test_a_host_that_the_table_knows_from_before_the_start_can_be_gone() -> None:
    watched = Watched()
    watched(UP), watched(UP)
    watched.sightings.know(["h", "gone"])
    assert watched(UP) == []
    assert watched(UP) == [HostReport(host="gone", is_gone=True)]
    assert watched(UP) == []


def test_of_two_services_with_one_name_the_liveliest_counts() -> None:
    watched = Watched()
    watched(UP, DOWN, UNKNOWN)
    assert watched(DOWN, UNKNOWN, UP) == [undisturbed()]
    assert watched(UNKNOWN, UP, DOWN) == []


def test_a_name_that_no_host_can_have_is_passed_over() -> None:
    watched = Watched()
    for bad in ("", "a/b", "a b", "a\n", "x" * 256):
        assert watched(UP, service(bad, "down", forced_down=True)) in ([], [undisturbed()])
        assert watched.sightings.unreadable == {bad}


def test_a_nova_that_does_not_tell_what_is_forced_down_is_not_guessed_at() -> None:
    watched = Watched()
    old = service(forced_down=None)
    watched(old), watched(old)
    assert [each.forced_down for each in watched(old, repeat=True)] == [None]


STATES = st.sampled_from([UP, DOWN, FORCED, UNKNOWN, None])


@given(st.lists(st.tuples(STATES, st.booleans()), max_size=30))
def test_whatever_nova_answers_what_was_told_follows_it(
    answers: list[tuple[ComputeService | None, bool]],
) -> None:
    """Two equal answers in the end: what a reader of all reports holds is what nova says."""
    watched = Watched()
    other = service("other")
    last = answers[-1][0] if answers else None
    held: dict[str, bool | None] = {}
    gone = True
    for state, repeat in [*answers, (last, False), (last, False)]:
        for told in watched(*filter(None, [state, other]), repeat=repeat):
            if told.host != "h":
                continue
            gone = told.is_gone
            held = {} if gone else held
            for field in ("is_up", "forced_down", "is_known"):
                said = getattr(told, field)
                if said is not None:
                    held[field] = said
    assert gone == (last is None) or not answers
    if last is not None:
        assert held.get("is_known") == (last is not UNKNOWN)
    if last not in (None, UNKNOWN):
        assert last is not None
        assert bool(held.get("forced_down")) == bool(last.forced_down)
        if last is not FORCED:
            assert held["is_up"] == (last.state == "up")
