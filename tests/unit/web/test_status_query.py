"""What a request of check_vim_status asks for, and what the answer says."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from vimfed.settings import Settings
from web.auth.caller import EVERYBODY
from web.http.errors import ApiError
from web.http.routes import parse_query
from web.queries.instance_search import FoundInstances, InstanceSearch, InstanceSummary, combine
from web.queries.queries import Queries
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


class Owners:
    """Two workers that own instances by their times, and what they were asked for."""

    def __init__(self, *owned: Sequence[str]) -> None:
        self._owned = owned
        self.limits: list[int] = []

    def largest_share(self) -> float:
        return 1 / len(self._owned)

    async def ask(self, _question: object, search: InstanceSearch) -> list[FoundInstances]:
        self.limits.append(search.limit)
        return [self._part(times, search.limit) for times in self._owned]

    def _part(self, times: Sequence[str], limit: int) -> FoundInstances:
        newest = sorted(times, reverse=True)
        last = newest[:limit][-1]
        until = (last, f"instance-{last}") if len(newest) > limit else None
        return part(*newest[:limit], count=len(newest), until=until)

    async def page(self, limit: int) -> list[str]:
        worker: Any = SimpleNamespace(settings=Settings(), vim_ids=())
        own: Any = SimpleNamespace(
            largest_share=self.largest_share, **dict.fromkeys(FINDERS, lambda _query: None)
        )
        gather: Any = self
        page = await Queries(worker, own, gather)._page(query(limit), EVERYBODY)
        return [one.launched_at for one in page.instances]


FINDERS = ("find_instances", "find_row", "find_vims", "find_troubles")


async def test_workers_are_asked_for_somewhat_more_than_their_share_of_a_page() -> None:
    times = [f"{number:04}" for number in range(1000)]
    owners = Owners(times[::2], times[1::2])
    assert await owners.page(100) == times[:-101:-1]
    assert owners.limits == [85]


async def test_a_worker_that_has_more_of_a_page_is_asked_again() -> None:
    times = [f"{number:04}" for number in range(1000)]
    owners = Owners(times[:500], times[500:])
    assert await owners.page(100) == times[:-101:-1]
    assert owners.limits == [85, 100]


async def test_what_there_is_no_more_of_is_asked_for_once() -> None:
    owners = Owners(["1", "2"], ["3"])
    assert await owners.page(100) == ["3", "2", "1"]
    assert owners.limits == [85]
