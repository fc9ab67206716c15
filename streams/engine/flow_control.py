"""Faust's flow control, which suspends and resumes what goes to the streams, without its losses."""

from mode.utils.queues import FlowControlEvent


class KeepingFlowControl(FlowControlEvent):
    """Resumes the flow, and keeps what is in the queues.

    Upstream (faust-streaming 0.15.3, mode-streaming 0.7.1) empties all queues each time the flow is
    resumed. A recovery does that twice, and in between the partitions that streams read are sought:
    what was fetched of them by then, and had not been taken out of its queue, came to nobody until
    the next rebalance, and newer records of the same instance went before it.

    What is to be forgotten is forgotten where partitions are taken away (``clear``); what comes
    late, of an earlier assignment, is let go by its generation.
    """

    def resume(self) -> None:
        """Let records go to the streams again."""
        self._suspend.clear()
        self._resume.set()
