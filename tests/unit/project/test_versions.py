"""The table of docs/versions.md is what its generator writes."""

from tests.versions.__main__ import PAGE
from tests.versions.checks import CHECKS
from tests.versions.table import NOT_RUN, Row, merged, parsed, rendered, result

RAN = Row("RabbitMQ", "4.0", "queues", "9 passed", "2026-01-01")


def test_the_page_is_what_the_generator_writes() -> None:
    page = PAGE.read_text()
    assert rendered(parsed(page)) == page
    assert [row[:3] for row in parsed(page)] == [check.row[:3] for check in CHECKS]


def test_each_row_has_a_result_of_a_day_or_was_not_run() -> None:
    for row in parsed(PAGE.read_text()):
        assert (row.result == NOT_RUN) == (row.on == ""), row


def test_what_was_not_run_again_stays_and_what_is_checked_otherwise_does_not() -> None:
    again, new = RAN._replace(result=NOT_RUN, on=""), Row("RabbitMQ", "4.0", "more queues")
    assert merged([again, new], [RAN]) == [RAN, new]


def test_a_result_is_pytests_sum_or_the_servers_that_are_right() -> None:
    assert result("1 failed, 2 passed in 3 s", succeeded=False) == "**1 failed, 2 passed**"
    assert result("x\n5 passed in 3.0s (0:00:03)\n", succeeded=True) == "5 passed"
    assert result("60 of 60 servers are in", succeeded=True) == "60 of 60 servers"
    assert result("make: *** [run] Error 1", succeeded=False) == "failed"
