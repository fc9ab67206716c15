"""Known instances that a cloud no longer has: pollers in this process, and a stand-in for nova."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest

import bridge.poller.comparison
from tests.support.polled import Polled
from tests.support.stub_nova import OWN_PROJECT, StubNova
from tests.support.waiting import eventually

WEEK = timedelta(days=7)


@pytest.fixture
def nova() -> Iterator[StubNova]:
    with StubNova() as stub:
        yield stub


def wait_for_comparison(polled: Polled, within: float = 20.0) -> None:
    eventually(lambda: polled.progress.compared_at, within)


def questions(nova: StubNova) -> list[str]:
    """Return which servers were asked for by their ids."""
    asked = [each.removeprefix("/servers/") for each in nova.requests if "/servers/" in each]
    return [each for each in asked if "/" not in each and "?" not in each]


def test_what_was_deleted_or_purged_while_nobody_polled_is_found_at_the_start(
    nova: StubNova, caplog: pytest.LogCaptureFixture
) -> None:
    there, deleted, purged = nova.add(), nova.add("deleted", age=WEEK), str(uuid.uuid4())
    with Polled(nova.login(), known=[there, deleted, purged]) as polled:
        wait_for_comparison(polled)
        polled.wait_for_cycles(2)
        lists = [each for each in nova.requests if each.startswith("/servers/detail?")]
    assert polled.told(there) == ["active"]
    assert polled.told(deleted) == polled.told(purged) == ["deleted"]
    assert (polled.absences("deleted"), polled.absences("there")) == (2, 0)
    assert set(questions(nova)) == {deleted, purged, there}, "one is the witness"
    assert len([each for each in lists if "changes-since" not in each]) == 1, "listed once"
    told = [each.getMessage() for each in caplog.records if "are gone" in each.getMessage()]
    assert purged in " ".join(told)


def test_an_absent_instance_is_told_as_an_inferred_deletion(nova: StubNova) -> None:
    server, other = nova.add(), nova.add()
    with Polled(nova.login(), known=[server, other], compare_interval=0.5) as polled:
        wait_for_comparison(polled)
        nova.purge(server)
        eventually(lambda: polled.knows(server, "deleted", ""), 20)
        polled.wait_for_cycles(5)
    (event,) = polled.outcome().events
    assert (event.kind, event.phase, event.inferred, event.late) == ("DELETE", "end", True, False)
    assert (event.old_state, event.new_state) == ("active", "deleted")
    assert polled.knows(other, "active", "")


def test_a_cloud_of_which_nothing_is_known_is_not_listed_again(nova: StubNova) -> None:
    nova.add()
    with Polled(nova.login(), compare_interval=0.1) as polled:
        polled.wait_for_cycles(5)
    lists = [each for each in nova.requests if each.startswith("/servers/detail?")]
    assert len([each for each in lists if "changes-since" not in each]) == 1
    assert questions(nova) == []


def test_no_comparison_is_made_where_the_settings_say_so(nova: StubNova) -> None:
    gone = str(uuid.uuid4())
    with Polled(nova.login(), known=[gone, nova.add()], compare_interval=0) as polled:
        polled.wait_for_cycles(5)
    assert polled.told(gone) == []
    assert questions(nova) == []


def test_an_instance_that_is_soft_deleted_is_told_as_it_is(nova: StubNova) -> None:
    server = nova.add("soft-delete", age=WEEK)
    with Polled(nova.login(), known=[server]) as polled:
        wait_for_comparison(polled)
    assert polled.told(server) == ["soft-delete"]
    assert polled.absences("there") == 1


def test_the_servers_of_a_cell_that_is_down_are_not_taken_for_deleted(nova: StubNova) -> None:
    shown, hidden, broken, purged = nova.add(), nova.add(), nova.add(), str(uuid.uuid4())
    nova.down_cell = {hidden, broken}
    nova.faults[broken] = 500  # before microversion 2.69
    with Polled(nova.login(), known=[shown, hidden, broken, purged]) as polled:
        wait_for_comparison(polled)
        assert not polled.progress.failing
    assert polled.told(hidden) == polled.told(broken) == []
    assert polled.told(purged) == ["deleted"]
    assert (polled.absences("unanswered"), polled.absences("deleted")) == (2, 1)


def test_a_404_that_is_not_novas_word_on_the_server_proves_nothing(nova: StubNova) -> None:
    there, absent = nova.add(), str(uuid.uuid4())
    nova.faults[absent] = 404
    with Polled(nova.login(), known=[there, absent]) as polled:
        eventually(lambda: polled.progress.failing, 10)
        assert polled.progress.failing.startswith("garbage: ")
        del nova.faults[absent]
        wait_for_comparison(polled)
    assert polled.told(absent) == ["deleted"]


def test_a_user_who_may_list_all_projects_but_not_ask_for_their_servers_proves_nothing(
    nova: StubNova, caplog: pytest.LogCaptureFixture
) -> None:
    nova.shows_own_project_only = True
    there, absent = nova.add(), nova.add("soft-delete", age=WEEK)
    with Polled(nova.login(), known=[there, absent]) as polled:
        eventually(lambda: polled.progress.why_not_compared, 10)
        polled.wait_for_cycles(2)
        assert not polled.progress.failing
    assert polled.told(absent) == []
    told = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert len(told) == 1
    assert "may not ask for single servers of other projects" in told[0]


def test_where_one_project_is_polled_the_other_projects_instances_are_left_alone(
    nova: StubNova,
) -> None:
    nova.shows_own_project_only = True
    ours, theirs = str(uuid.uuid4()), nova.add("soft-delete", age=WEEK)
    known = {ours: OWN_PROJECT, theirs: "tenant", str(uuid.uuid4()): ""}
    with Polled(nova.login(), known=known, all_projects=False) as polled:
        wait_for_comparison(polled)
    assert polled.told(ours) == ["deleted"]
    assert polled.told(theirs) == []
    assert questions(nova) == [ours]


def test_a_cycle_asks_for_few_and_the_next_ones_go_on(nova: StubNova) -> None:
    there = nova.add()
    absent = [str(uuid.uuid4()) for _ in range(9)]
    with Polled(nova.login(), known=[there, *absent], interval=1.5) as polled:
        polled.wait_for_cycles(1)
        assert polled.progress.absent == 9
        polled.wait_for_cycles(1)
        assert polled.progress.absent == 6
        asked = questions(nova)
        assert len(asked) == 4, "three, and the witness"
        polled.wait_for_cycles(2)
        assert polled.progress.absent == 0
    assert polled.absences("deleted") == 9


def test_a_question_comes_again_when_kafka_has_not_taken_what_followed(nova: StubNova) -> None:
    there, absent = nova.add(), str(uuid.uuid4())
    with Polled(nova.login(), known=[there, absent]) as polled:
        polled.wait_for_cycles(1)
        polled.takes = False
        eventually(lambda: absent in questions(nova), 10)
    assert polled.absences("deleted") == 0
    with Polled(nova.login(), known=[there, absent]) as polled:  # the bridge is started again
        wait_for_comparison(polled)
    assert polled.told(absent) == ["deleted"]


def test_what_is_deleted_while_all_are_listed_is_told_by_its_own_action(nova: StubNova) -> None:
    there, deleted = nova.add(), nova.add()
    with Polled(nova.login(), known=[there, deleted], compare_interval=0.5, interval=0.5) as polled:
        wait_for_comparison(polled)
        nova.act(deleted, "delete", "compute_terminate_instance", "deleted")
        eventually(lambda: polled.knows(deleted, "deleted", ""), 20)
        polled.wait_for_cycles(6)
    assert [(event.kind, event.phase, event.inferred) for event in polled.outcome().events] == [
        ("DELETE", "start", False),
        ("SHUT_DOWN", "start", False),
        ("SHUT_DOWN", "end", False),
        ("DELETE", "end", False),
    ]


def test_another_clouds_api_deletes_nothing_before_somebody_could_see_to_it(
    nova: StubNova, caplog: pytest.LogCaptureFixture
) -> None:
    nova.add()
    known = [str(uuid.uuid4()) for _ in range(bridge.poller.comparison.DOUBTFUL)]
    with Polled(nova.login(), known=known, compare_interval=3) as polled:
        eventually(lambda: polled.progress.why_not_compared, 10)
        polled.wait_for_cycles(3)
        assert polled.absences("deleted") == 0
        (warning,) = [each for each in caplog.records if each.levelname == "WARNING"]
        assert "none of the 10 instances that are known is listed" in warning.getMessage()
        eventually(lambda: polled.absences("deleted") == len(known), 30)
        eventually(lambda: not polled.progress.why_not_compared, 10)


def test_an_api_that_fails_in_the_midst_is_asked_again(nova: StubNova) -> None:
    there, absent = nova.add(), str(uuid.uuid4())
    nova.faults[absent] = 429
    with Polled(nova.login(), known=[there, absent]) as polled:
        eventually(lambda: polled.progress.failing.startswith("throttled"), 10)
        assert polled.told(absent) == []
        del nova.faults[absent]
        wait_for_comparison(polled)
    assert polled.told(absent) == ["deleted"]
