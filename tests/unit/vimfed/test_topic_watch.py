"""What the watch over the job's topics makes of what the brokers say."""

from types import SimpleNamespace
from typing import Any

import pytest

from vimfed.kafka import topic_watch
from vimfed.kafka.cluster_state import DENIED
from vimfed.kafka.rights import worker_needs
from vimfed.settings import KafkaSettings


async def test_a_topic_that_we_may_not_see_any_more_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who writes to it would wait for its leader for ever."""

    async def nothing() -> None: ...

    async def denied(_admin: Any, names: list[str]) -> dict[str, Any]:
        return dict.fromkeys(names, DENIED)

    admin = SimpleNamespace(start=nothing, close=nothing)
    monkeypatch.setattr(topic_watch, "new_admin", lambda _kafka: admin)
    monkeypatch.setattr(topic_watch, "topic_states", denied)
    monkeypatch.setattr(topic_watch, "LOOK_EVERY", 0.0)
    kafka = KafkaSettings()
    told = str(await topic_watch.wrong_topic(kafka, worker_needs(kafka)))
    assert "lacks the right Describe on topic vimfed.notifications" in told
