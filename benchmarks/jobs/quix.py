"""Quix Streams, stateful; runs in an environment of its own (see benchmarks/workers.py).

python -m benchmarks.jobs.quix BOOTSTRAP SOURCE EVENTS CHANGELOG FOLDER
"""

import sys
from typing import Any

from quixstreams import Application, State, message_context

from benchmarks.jobs.folding import fold_one


def main(bootstrap: str, source: str, events: str, _changelog: str, folder: str) -> None:
    """Run the application for ever."""
    app = Application(
        broker_address=bootstrap,
        consumer_group=f"{events}-group",
        auto_offset_reset="earliest",
        state_dir=folder,
        loglevel="WARNING",
    )
    notifications = app.topic(source, value_deserializer="bytes", key_deserializer="bytes")
    told_events = app.topic(events, value_serializer="bytes", key_serializer="bytes")

    def fold(value: bytes, state: State) -> list[bytes]:
        row, told = fold_one(
            value, message_context().offset, lambda: state.get_bytes("row", default=None)
        )
        if row is not None:
            state.set_bytes("row", row)
        return told

    frame: Any = app.dataframe(notifications)
    frame.apply(fold, stateful=True, expand=True).to_topic(told_events)
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
