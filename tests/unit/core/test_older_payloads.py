"""What befell servers of the newest nova, told in the payloads of older ones.

The recorded runs of these are short of failed builds and moves, evacuations, live migrations that
are undone and deletions in the middle of something. How their payloads differ is known from them.
"""

import json
from collections import Counter

import pytest

from tests.stories import BOOKS
from tests.stories.telling import Updates, expected, messages
from tests.support.nova_messages import INSTANCE
from tests.support.older_payloads import as_told_by, lacking, shapes
from tests.support.playing import is_versioned, play
from tests.support.told_by_nova import told_by_nova
from tests.support.traces import FAULTS, NEWEST, OLDER, ROUGH, notifications, truth

of_each_older_nova = pytest.mark.parametrize("release", OLDER)
STORIES = [story for book in BOOKS.values() for story in book if "versioned" in story.formats]


def test_what_the_payloads_of_older_novas_lack() -> None:
    assert {release: set(lacking(release)) for release in OLDER} == {
        "nova-31": set(),
        "nova-26": {"shares"},
    }
    newest = shapes(*NEWEST).fields
    for release in OLDER:
        more = {name: fields - newest[name] for name, fields in shapes(release).fields.items()}
        assert set().union(*more.values()) == set(), release


@of_each_older_nova
def test_the_versions_of_an_older_novas_objects_are_told(release: str) -> None:
    told = list(as_told_by(release, filter(is_versioned, notifications(FAULTS))))
    action = next(one for one in told if one.event_type == "instance.power_off.start")
    payload = json.loads(bytes(action.payload))
    wanted = shapes(release).versions
    assert payload["nova_object.version"] == wanted["InstanceActionPayload"]
    assert ("shares" in payload["nova_object.data"]) is (release == "nova-31")


@of_each_older_nova
@pytest.mark.parametrize("run", [ROUGH, FAULTS])
def test_a_run_of_the_newest_nova_ends_in_its_truth_in_an_older_ones_payloads(
    release: str, run: str
) -> None:
    told = list(as_told_by(release, filter(is_versioned, notifications(run))))
    outcome = play(told)
    states = truth(run).states
    assert {server: outcome.state(server) for server in states} == states
    assert outcome.told() == told_by_nova(told)
    assert len({event.id for event in outcome.events}) == len(outcome.events)


@pytest.mark.parametrize("updates", ["vm_and_task_state", "none"])
def test_every_story_ends_right_in_the_payloads_of_the_nova_that_lacks_most(
    updates: Updates,
) -> None:
    wrong = {}
    for story in STORIES:
        told = messages(story, "versioned", updates)
        as_older = list(as_told_by("nova-26", told))
        if not told or len(as_older) < len(told):
            continue  # nova says nothing of it, or this release does not know it
        outcome, wanted = play(as_older), expected(story, "versioned", updates)
        found = outcome.state(INSTANCE), outcome.told().get(INSTANCE, Counter())
        if found != (tuple(wanted.end), wanted.events):
            wrong[story.name] = found
    assert wrong == {}
