"""What a request of check_vim_status asks for, and what the answer says."""

import pytest

from web.errors import ApiError
from web.status_query import InstanceSummary, StatusPart, StatusQuery, combine, parse_request


def part(*times: str, count: int | None = None) -> StatusPart:
    return StatusPart(
        generation=1,
        partitions=(0,),
        known=True,
        count=len(times) if count is None else count,
        instances=[
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
            )
            for time in times
        ],
    )


def query(limit: int = 100) -> StatusQuery:
    body = b'{"states": ["pause"], "limit": %d}' % limit
    return parse_request("Owner_Region", body, None)


def test_the_newest_instance_of_all_parts_gives_the_specifications_answer() -> None:
    answer = combine(query(), [part("3", "1"), part("4", "2")])
    assert (answer.state_description, answer.launched_at) == ("paused", "4")
    assert [one.launched_at for one in answer.instances] == ["4", "3", "2", "1"]
    assert (answer.count, answer.next_marker) == (4, None)


def test_no_match_is_an_empty_answer() -> None:
    answer = combine(query(), [part(), part()])
    assert (answer.state_description, answer.launched_at, answer.count) == ("", "", 0)


def test_the_marker_leads_from_page_to_page_and_ends() -> None:
    first = combine(query(2), [part("3", "1"), part("4", "2")])
    assert first.next_marker == "3,instance-3"
    body = b'{"states": ["pause"], "limit": 2, "marker": "3,instance-3"}'
    following = parse_request("Owner_Region", body, None)
    assert following.before == ("3", "instance-3")
    second = combine(following, [part("1", count=2), part("2", count=2)])
    assert [one.launched_at for one in second.instances] == ["2", "1"]
    assert second.next_marker is None


def test_the_header_names_a_tenant_and_the_body_overrules_it() -> None:
    assert parse_request("v", b'{"states": ["pause"]}', "from-header").tenant_id == "from-header"
    body = b'{"states": ["pause"], "tenant_id": "from-body"}'
    assert parse_request("v", body, "from-header").tenant_id == "from-body"


def test_states_are_named_once() -> None:
    body = b'{"states": ["pause", "PAUSE", "power-off"]}'
    assert parse_request("v", body, None).names == ("PAUSE", "POWER_OFF")


def test_an_unknown_state_is_answered_with_the_accepted_ones() -> None:
    with pytest.raises(ApiError, match=r"unknown states \['FLYING'\].*POWER_OFF") as refused:
        parse_request("v", b'{"states": ["FLYING"]}', None)
    assert refused.value.status == 400
