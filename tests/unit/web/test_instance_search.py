"""Which instances a query string asks for."""

from base64 import urlsafe_b64encode

import msgspec
import pytest

from streams.worker.host_index import CloudNews, HostEntry
from streams.worker.instance_index import IndexEntry, StateGroup
from vimfed.model.records import InstanceState, Outage, encode_row
from web.http.errors import ApiError
from web.queries.instance_search import (
    FoundInstances,
    InstancesParameters,
    ListedRow,
    combine,
    decode_listed_row,
    parse_search,
    selection,
    summary,
)
from web.queries.vims import FoundTroubles, FoundVims, Vim, with_troubles
from web.queries.vims import combine as combine_vims

PAUSED = StateGroup("paused", "", "PAUSE")
PAUSED_AND_LOCKED = StateGroup("paused", "", "LOCK")
DELETED = StateGroup("deleted", "", "DELETE")
OUT = StateGroup("active", "", "CREATE", True)
NEWS = CloudNews({"compute01": HostEntry(host="compute01", told="down")}, "")
UNKNOWN = NEWS._replace(unknown_since="2026-01-01T00:00:00.000000Z")


@pytest.mark.parametrize(
    ("parameters", "groups"),
    [
        ({}, {PAUSED, PAUSED_AND_LOCKED, OUT}),
        ({"state": ["pause"]}, {PAUSED, PAUSED_AND_LOCKED}),
        ({"kind": ["pause"]}, {PAUSED}),
        ({"state": ["PAUSE"], "kind": ["LOCK"]}, {PAUSED_AND_LOCKED}),
        ({"state": ["deleted"]}, {DELETED}),
        ({"kind": ["DELETE", "PAUSE"]}, {DELETED, PAUSED}),
        ({"state": ["paused"], "kind": ["DELETE"]}, set()),
        ({"state": ["unavailable"]}, {OUT}),
        ({"state": ["UNAVAILABLE", "PAUSE"]}, {OUT, PAUSED, PAUSED_AND_LOCKED}),
        ({"state": ["UNAVAILABLE"], "kind": ["PAUSE"]}, set()),
        ({"state": ["active"]}, {OUT}),
    ],
)
def test_states_and_kinds_narrow_and_deleted_instances_must_be_asked_for(
    parameters: dict[str, list[str]], groups: set[StateGroup]
) -> None:
    search = parse_search("v", InstancesParameters(**parameters), None)  # type: ignore[arg-type]
    matches = selection(search, NEWS).matches
    assert {one for one in (PAUSED, PAUSED_AND_LOCKED, DELETED, OUT) if matches(one)} == groups


@pytest.mark.parametrize(
    ("parameters", "passes"),
    [
        ({"host": "compute01"}, True),
        ({"host": "compute0"}, False),
        ({"name": "eb-0"}, True),
        ({"name": "WEB"}, True),
        ({"name": "db"}, False),
        ({"name": "web", "host": "compute02"}, False),
    ],
)
def test_a_host_is_given_whole_and_a_name_in_part(parameters: dict[str, str], passes: bool) -> None:
    test = selection(parse_search("v", InstancesParameters(**parameters), None), NEWS).passes  # type: ignore[arg-type]
    assert test is not None
    assert test(IndexEntry("1", "i", PAUSED, "t", "compute01", "Web-01")) is passes


@pytest.mark.parametrize(
    ("group", "host", "news", "told"),
    [
        (OUT, "compute01", NEWS, "false"),
        (PAUSED, "compute01", NEWS, "true"),
        (PAUSED, "compute02", NEWS, "unknown"),
        (PAUSED, "", NEWS, "unknown"),
        (OUT, "compute01", UNKNOWN, "unknown"),
        (PAUSED, "compute01", UNKNOWN, "unknown"),
        (PAUSED, "compute01", CloudNews({}, ""), "unknown"),
    ],
)
def test_an_instance_is_available_as_far_as_is_known_of_its_host(
    group: StateGroup, host: str, news: CloudNews, told: str
) -> None:
    entry = IndexEntry("1", "i", group, "t", host, "Web-01")
    for wanted in ("true", "false", "unknown"):
        search = parse_search("v", InstancesParameters(available=wanted), None)
        passes = selection(search, news).passes
        assert passes is not None
        assert passes(entry) is (wanted == told)


def listed(row: InstanceState) -> ListedRow:
    return decode_listed_row(encode_row(row))


def test_what_is_said_of_an_instance_tells_since_when_it_is_unavailable_and_why() -> None:
    since = "2026-01-01T00:00:01.000000Z"
    row = InstanceState(
        vim_id="v",
        instance_id="i",
        vm_state="active",
        task_state="",
        kind="CREATE",
        phase="end",
        changed_at=since,
        payload=msgspec.Raw(b'{"host": "compute01"}'),
        outage=Outage(since, "host_down", "compute01"),
    )
    told = summary(listed(row), NEWS)
    assert (told.available, told.unavailable_since, told.unavailable_reason) == (
        False,
        since,
        "host_down",
    )
    # What was told last is said also while the cloud does not tell.
    told = summary(listed(row), UNKNOWN)
    assert (told.available, told.unavailable_since) == (None, since)
    told = summary(listed(msgspec.structs.replace(row, outage=None)), NEWS)
    assert (told.available, told.unavailable_since, told.unavailable_reason) == (True, None, None)


def test_a_question_of_before_is_asked_as_before() -> None:
    """A worker of an earlier version refuses what it does not know."""
    search = parse_search("v", InstancesParameters(state=["PAUSE"]), None)
    assert (
        not {"available", "unavailable"}
        & msgspec.json.decode(msgspec.json.encode(search), type=dict).keys()
    )
    search = parse_search("v", InstancesParameters(state=["UNAVAILABLE", "PAUSE"]), None)
    assert (search.states, search.unavailable) == (("PAUSE",), True)


@pytest.mark.parametrize(
    ("asked", "seen", "shown"),
    [
        ("", None, None),
        ("", ("t", "u"), ("t", "u")),
        ("t", None, ("t",)),
        ("t", ("t", "u"), ("t",)),
        ("T", ("t", "u"), ()),
        ("t", (), ()),
    ],
)
def test_the_tenant_that_is_asked_for_is_one_of_those_that_the_caller_may_see(
    asked: str, seen: tuple[str, ...] | None, shown: tuple[str, ...] | None
) -> None:
    search = parse_search("v", InstancesParameters(tenant_id=asked), None)
    assert selection(msgspec.structs.replace(search, tenants=seen), NEWS).tenants == shown


@pytest.mark.parametrize(
    "time",
    ["2026-01-01T12:00:00Z", "2026-01-01T14:00:00+02:00", "2026-01-01 12:00", "20260101T12"],
)
def test_a_time_is_understood_in_any_zone(time: str) -> None:
    search = parse_search("v", InstancesParameters(changed_since=time), None)
    assert search.changed_since == "2026-01-01T12:00:00.000000Z"


def test_what_is_no_time_is_refused_with_an_example() -> None:
    for time in ("yesterday", "2026-01-01T14:00:00 02:00", "9999-12-31T23:59:59-23:00"):
        with pytest.raises(ApiError, match="such as 2026-01-01T12:00:00Z"):
            parse_search("v", InstancesParameters(changed_since=time), None)


def test_the_newest_come_first_unless_a_name_or_another_order_is_asked_for() -> None:
    assert parse_search("v", InstancesParameters(), None).order == "desc"
    assert parse_search("v", InstancesParameters(sort="host"), None).order == "asc"
    assert parse_search("v", InstancesParameters(sort="host", order="desc"), None).order == "desc"


def test_a_marker_of_a_list_in_another_order_is_refused() -> None:
    search = parse_search("v", InstancesParameters(sort="host", limit=1), None)
    parts = [FoundInstances(known=True, count=2, instances=[], until=("h", "a"))]
    assert combine(search, parts).next_marker == "WyJob3N0IiwiYXNjIixbImgiLCJhIl1d"
    marker = "WyJjaGFuZ2VkX2F0IiwiZGVzYyIsWyIxIiwiYSJdXQ=="
    assert parse_search("v", InstancesParameters(marker=marker), None).after == ("1", "a")
    with pytest.raises(ApiError, match="of a list by changed_at desc"):
        parse_search("v", InstancesParameters(sort="host", marker=marker), None)


def test_the_states_of_a_vim_are_added_up_and_its_deleted_instances_apart() -> None:
    parts = [
        FoundVims({"b": {"active": 2, "deleted": 1}}),
        FoundVims({"b": {"active": 1}, "c": {"error": 1}}),
    ]
    assert combine_vims(["a", "b"], parts).vims == [
        Vim(vim_id="a", configured=True, instances=0, states={}),
        Vim(vim_id="b", configured=True, instances=3, states={"active": 3, "deleted": 1}),
        Vim(vim_id="c", configured=False, instances=1, states={"error": 1}),
    ]


def test_hosts_and_alarms_of_a_vim_are_added_up() -> None:
    vims = combine_vims(["a", "b"], [FoundVims({})]).vims
    assert (vims[0].hosts, vims[0].unavailable, vims[0].alarms) == (None, None, None)
    parts = [
        FoundTroubles({"b": {"up": 2}}, {"b": 3}, {"b": {"vm_unavailable": 3}}),
        FoundTroubles({"b": {"up": 1, "down": 1}}, {"b": 1}, {"b": {"vm_unavailable": 1}}),
    ]
    a, b = with_troubles(vims, parts)
    assert (a.hosts, a.unavailable, a.alarms) == ({}, 0, {})
    assert (b.hosts, b.unavailable) == ({"down": 1, "up": 3}, 4)
    assert b.alarms == {"vm_unavailable": 4}


def test_a_marker_that_is_nested_too_deeply_is_refused() -> None:
    deep = urlsafe_b64encode(b'["changed_at","desc",["1","a"],' + b"[" * 100_000).decode()
    with pytest.raises(ApiError, match="marker must be the next_marker"):
        parse_search("v", InstancesParameters(marker=deep), None)
