"""Who assigns for all may not know a table that others have."""

from pathlib import Path
from typing import Any

import faust
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

from streams.engine.assignor import TolerantAssignor

TOPICS = ("source", "old-changelog", "new-changelog")
PARTITIONS = 4


class Cluster(ClusterMetadata):  # type: ignore[misc]  # aiokafka's types
    """A cluster whose topics have as many partitions each."""

    def partitions_for_topic(self, topic: str) -> set[int]:
        assert topic in TOPICS
        return set(range(PARTITIONS))


def member(folder: Path, name: str, *changelogs: str) -> TolerantAssignor:
    """Return the assignor of a member that has the tables of some changelogs."""
    app = faust.App("group", datadir=folder, canonical_url=f"http://{name}")
    tables: Any = app.tables
    for changelog in changelogs:
        tables._changelogs[changelog] = object()
    return TolerantAssignor(app, replicas=1)


def test_copies_that_the_leader_gives_nobody_to_read_are_not_kept(tmp_path: Path) -> None:
    members = {
        "leader": member(tmp_path, "leader", "old-changelog"),
        "one": member(tmp_path, "one", "old-changelog", "new-changelog"),
        "two": member(tmp_path, "two", "old-changelog", "new-changelog"),
    }
    metadata: dict[str, ConsumerProtocolMemberMetadata] = {
        name: each.metadata({"source", *each._table_manager.changelog_topics})
        for name, each in members.items()
    }
    assigned = members["leader"].assign(Cluster(), metadata)
    for name, each in members.items():
        each.on_assignment(assigned[name])
    of_new = {
        name: {tp.partition for tp in each.assigned_actives() if tp.topic == "new-changelog"}
        for name, each in members.items()
    }
    assert of_new["leader"] == set()
    assert of_new["one"] | of_new["two"] == set(range(PARTITIONS))
    copies = [tp for each in members.values() for tp in each.assigned_standbys()]
    tables = [tp.partition for tp in copies if tp.topic == "old-changelog"]
    assert sorted(tables) == list(range(PARTITIONS))
    assert {tp.topic for tp in copies} == {"source", "old-changelog"}
