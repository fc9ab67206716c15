"""Faust's assignor, for members of which not all have the same tables."""

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor


class TolerantAssignor(PartitionAssignor):
    """Takes copies of what it is given to read, and of nothing else.

    While a table is introduced, member after member is started anew, and the one that assigns for
    all may not have it yet. Upstream (faust-streaming 0.15.3) tells the others then that they are
    to keep copies of partitions of that table which it does not give them to read, and each of them
    ends of an assertion about that, as often as it joins the group.
    """

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Take what the member that assigns for all has assigned."""
        metadata = ClientMetadata.loads(self._decompress(assignment.user_data))
        given = {topic: set(partitions) for topic, partitions in assignment.assignment}
        told: ClientAssignment = metadata.assignment
        tables = self._table_manager.changelog_topics
        metadata.assignment = ClientAssignment(
            actives=told.actives,
            standbys={
                topic: [
                    each
                    for each in partitions
                    if topic not in tables or each in given.get(topic, ())
                ]
                for topic, partitions in told.standbys.items()
            },
        )
        super().on_assignment(
            ConsumerProtocolMemberAssignment(
                assignment.version, assignment.assignment, self._compress(metadata.dumps())
            )
        )
