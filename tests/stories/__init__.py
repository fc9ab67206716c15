"""Stories of servers, by what happens to them; see ``telling`` for how they are written."""

from tests.stories import builds, deletions, moves, old_novas, power, volumes
from tests.stories.telling import Story

BOOKS: dict[str, tuple[Story, ...]] = {
    "builds": builds.STORIES,
    "deletions": deletions.STORIES,
    "power": power.STORIES,
    "volumes": volumes.STORIES,
    "moves": moves.STORIES,
    "old novas": old_novas.STORIES,
}
"""Every story, by book."""
