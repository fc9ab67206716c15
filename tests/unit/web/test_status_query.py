"""What a request of check_vim_status asks for, and what the answer says."""

import pytest
from aiohttp.test_utils import make_mocked_request

from web.http.errors import ApiError
from web.http.routes import parse_query
from web.queries.instance_search import FoundInstances, InstanceSearch, InstanceSummary, combine
from web.queries.single_instance import InstanceParameters
from web.queries.status_query import StatusAnswer, parse_request, status_answer


def part(
    *times: str, count: int | None = None, until: tuple[str, str] | None = None
) -> FoundInstances:
    return FoundInstances(
        known=True,
        count=len(times) if count is None else count,
        instances=[
            (
                (time, f"instance-{time}"),
                InstanceSummary(
                    instance_id=f"instance-{time}",
                    display_name=None,
                    tenant_id=None,
                    kind="PAUSE",
                    phase="end",
                    state="paused",
                    state_description="paused",
                    launched_at=time,
                    instance_launched_at=None,
                    host=None,
                ),
            )
            for time in times
        ],
        until=until,
    )


def query(limit: int = 100) -> InstanceSearch:
    body = b'{"states": ["pause"], "limit": %d}' % limit
    return parse_request("Owner_Region", body, None)


def answer(search: InstanceSearch, *parts: FoundInstances) -> StatusAnswer:
    return status_answer(combine(search, parts))


def test_the_newest_instance_of_all_parts_gives_the_specifications_answer() -> None:
    told = answer(query(), part("3", "1"), part("4", "2"))
    assert (told.state_description, told.launched_at) == ("paused", "4")
    assert [one.launched_at for one in told.instances] == ["4", "3", "2", "1"]
    assert (told.count, told.next_marker) == (4, None)


def test_no_match_is_an_empty_answer() -> None:
    told = answer(query(), part(), part())
    assert (told.state_description, told.launched_at, told.count) == ("", "", 0)


def test_the_marker_leads_from_page_to_page_and_ends() -> None:
    first = answer(query(2), part("3", "1"), part("4", "2"))
    body = b'{"states": ["pause"], "limit": 2, "marker": "%s"}' % str(first.next_marker).encode()
    following = parse_request("Owner_Region", body, None)
    assert following.after == ("3", "instance-3")
    second = answer(following, part("1", count=2), part("2", count=2))
    assert [one.launched_at for one in second.instances] == ["2", "1"]
    assert second.next_marker is None


def test_a_page_ends_where_a_part_has_looked_no_further() -> None:
    # The instance at which the first part ended has changed meanwhile, and others follow it.
    parts = part("9", count=9, until=("7", "instance-7")), part("8", "6", count=2)
    told = answer(query(5), *parts)
    assert [one.launched_at for one in told.instances] == ["9", "8"]
    body = b'{"states": ["pause"], "marker": "%s"}' % str(told.next_marker).encode()
    assert parse_request("Owner_Region", body, None).after == ("7", "instance-7")


@pytest.mark.parametrize("marker", ["", "x", "WyJoIl0=", "é", "ÿÿÿÿ", "bnVsbA==", "3,instance-3"])
def test_what_is_no_marker_is_refused(marker: str) -> None:
    with pytest.raises(ApiError, match="marker must be the next_marker"):
        parse_request("v", f'{{"states": ["pause"], "marker": "{marker}"}}'.encode(), None)


def test_the_header_names_a_tenant_and_the_body_overrules_it() -> None:
    assert parse_request("v", b'{"states": ["pause"]}', "from-header").tenant_id == "from-header"
    body = b'{"states": ["pause"], "tenant_id": "from-body"}'
    assert parse_request("v", body, "from-header").tenant_id == "from-body"


def test_states_are_named_once() -> None:
    body = b'{"states": ["pause", "PAUSE", "power-off"]}'
    assert parse_request("v", body, None).states == ("PAUSE", "POWER_OFF")


def test_an_unknown_state_is_answered_with_the_accepted_ones() -> None:
    with pytest.raises(ApiError, match=r"unknown \['FLYING'\].*POWER_OFF") as refused:
        parse_request("v", b'{"states": ["FLYING"]}', None)
    assert refused.value.status == 400


def test_a_body_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ApiError, match="states"):
        parse_request("v", b'{"states":' + b"[" * 100_000, None)


def test_a_parameter_that_is_none_is_refused() -> None:
    assert parse_query(make_mocked_request("GET", "/x?stale=ok"), InstanceParameters).stale == "ok"
    with pytest.raises(ApiError, match="unknown field `stael`"):
        parse_query(make_mocked_request("GET", "/x?stael=ok"), InstanceParameters)
