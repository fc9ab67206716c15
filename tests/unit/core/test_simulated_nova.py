"""Each operation of the simulated nova by itself, from every cloud, against nova's own truth."""

import pytest

from tests.simulated_nova import BIRTHS, CLOUDS, OPERATIONS, life_of, live
from tests.support.nova_messages import in_order
from tests.support.playing import play
from tests.support.right_outcome import assert_right

STORIES = {
    **{name: live([], deleted=False, born=born) for born, (name, _) in enumerate(BIRTHS)},
    **{
        f"{name}-then-delete": live([], deleted=True, born=born)
        for born, (name, _) in enumerate(BIRTHS)
    },
    **{
        f"{one.name}-{state}": life_of(one, state)
        for one in OPERATIONS
        for state in sorted(one.states)
    },
}
"""A server by the name of what happened to it."""


@pytest.mark.parametrize("name", STORIES)
def test_an_operation_is_known_and_told_as_nova_did_it(name: str) -> None:
    server = STORIES[name]
    for cloud in CLOUDS:
        assert_right(play(in_order(*cloud.sent(server))), server, cloud)
