"""Which subscription wants which event, and which subscriptions hold when."""

import json

import msgspec
import pytest

from streams.subscriptions.filters import (
    MAX_SUBSCRIPTIONS,
    Matcher,
    Subscription,
    SubscriptionHistory,
)
from streams.subscriptions.log import encoded
from tests.support.vm_events import VIM_ID, vm_event

TENANT = "943ecb804cdf4103976b8a02cea12fdb"
FIELDS_OF_RELEASE_0_1_0 = (
    "clouds",
    "kinds",
    "phases",
    "tenants",
    "instances",
    "output",
    "format",
)


@pytest.mark.parametrize(
    ("subscription", "wanted"),
    [
        (Subscription(), True),
        (Subscription(kinds=("PAUSE", "DELETE")), True),
        (Subscription(kinds=("DELETE",)), False),
        (Subscription(phases=("end",)), True),
        (Subscription(phases=("start", "error")), False),
        (Subscription(clouds=(VIM_ID,)), True),
        (Subscription(clouds=("Other_Cloud",)), False),
        (Subscription(tenants=(TENANT,)), True),
        (Subscription(tenants=("another",)), False),
        (Subscription(instances=("vm-1",)), True),
        (Subscription(instances=("vm-2",)), False),
        (Subscription(kinds=("PAUSE",), phases=("start",)), False),
    ],
)
def test_a_subscription_wants_what_all_of_its_lists_name(
    subscription: Subscription, wanted: bool
) -> None:
    assert Matcher(subscription).wants(vm_event(), TENANT) is wanted


def test_an_event_goes_to_a_subscription_whatever_meters_it_names() -> None:
    assert Matcher(Subscription(meters=("cpu_util",))).wants(vm_event(), TENANT)


def test_versions_that_do_not_know_meters_read_what_names_none() -> None:
    plain = Subscription(kinds=("PAUSE",), output="x")
    assert set(json.loads(encoded(plain))) == {*FIELDS_OF_RELEASE_0_1_0}
    for subscription in (plain, Subscription(meters=("cpu_util",))):
        decoder = msgspec.json.Decoder(Subscription)
        assert decoder.decode(encoded(subscription)) == subscription


def test_what_is_about_a_host_or_a_cloud_is_no_tenants() -> None:
    down = vm_event("", kind="HOST_DOWN", host="compute-1", payload={"tenant_id": TENANT})
    assert Matcher(Subscription()).wants(down, TENANT)
    assert not Matcher(Subscription(tenants=(TENANT,))).wants(down, TENANT)
    assert not Matcher(Subscription(tenants=("",))).wants(down, "")


def wanted_by(history: SubscriptionHistory, output: str, timestamp: int) -> int:
    return len(history.matchers(output, timestamp))


def test_a_change_holds_one_second_after_kafka_took_it_and_not_for_older_events() -> None:
    history = SubscriptionHistory(None)
    history.add("a", Subscription(), 10_000)
    history.add("a", None, 20_000)
    assert [wanted_by(history, "x", at) for at in (10_999, 11_000, 20_999, 21_000)] == [0, 1, 1, 0]
    assert history.current() == {}


def test_a_clock_that_steps_back_does_not_reorder_changes() -> None:
    history = SubscriptionHistory(None)
    history.add("a", Subscription(), 10_000)
    history.add("a", None, 9_000)
    assert wanted_by(history, "x", 10_500) == 0
    assert wanted_by(history, "x", 11_000) == 0


def test_what_changes_nothing_takes_no_room() -> None:
    history = SubscriptionHistory(None)
    for at in range(10):
        history.add("a", Subscription(kinds=("PAUSE",)), at)
        history.add("never", None, at)
    assert history._changes == [("a", Subscription(kinds=("PAUSE",)))]
    assert [wanted_by(history, "x", at) for at in (999, 1000)] == [0, 1]


def test_changes_that_no_event_can_meet_any_more_are_forgotten() -> None:
    history = SubscriptionHistory(Subscription(output="x"), kept=100)
    every, kept = 1000, 100_000
    newest = 10 * kept
    for at in range(0, newest + 1, every):
        history.add("a", Subscription(kinds=(f"K{at}",)), at)
        history.add("b", None if at % (2 * every) else Subscription(output="y"), at)
    assert len(history._changes) <= 4 * kept / every + 4
    assert (history.current()["a"].kinds, "b" in history.current()) == ((f"K{newest}",), True)
    # Whatever is kept is decided as if all were.
    for at in range(newest - kept + 1000, newest + 1000, every):
        assert wanted_by(history, "x", at + 1000) == 2
        assert wanted_by(history, "y", at + 1000) == (1 if at % (2 * every) else 2)
        assert Matcher(Subscription(kinds=(f"K{at}",))).kinds in (
            matcher.kinds for matcher in history.matchers("x", at + 1000)
        )


def test_who_asks_only_what_holds_now_keeps_no_changes() -> None:
    history = SubscriptionHistory(None, kept=0)
    for at in range(100):
        history.add("a", Subscription(kinds=(f"K{at}",)), at)
    assert (len(history._changes), history.current()["a"].kinds) == (0, ("K99",))


def test_a_subscription_holds_for_its_output_or_for_all() -> None:
    history = SubscriptionHistory(Subscription(output="x"))
    history.add("all", Subscription(), 0)
    history.add("y", Subscription(output="y"), 0)
    assert [wanted_by(history, output, 5000) for output in ("x", "y", "z")] == [2, 2, 1]


def test_one_subscription_too_many_is_passed_over_until_there_is_room() -> None:
    history = SubscriptionHistory(Subscription())
    for number in range(MAX_SUBSCRIPTIONS):
        history.add(f"s{number}", Subscription(output=f"o{number}"), number)
    assert len(history.current()) == MAX_SUBSCRIPTIONS
    assert f"s{MAX_SUBSCRIPTIONS - 1}" not in history.current()
    assert len(history.matchers(f"o{MAX_SUBSCRIPTIONS - 1}", 10**6)) == 1  # the default one
    history.add("s0", Subscription(kinds=("DELETE",)), 2000)
    assert history.current()["s0"].kinds == ("DELETE",)
    history.add("s0", None, 3000)
    history.add("late", Subscription(), 4000)
    assert "late" in history.current()
