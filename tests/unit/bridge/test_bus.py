"""The message buses of a cloud: their names and paths."""

from bridge.rabbit.bus import buses_of, sample_buses_of
from tests.support.sections import rabbit_cloud, vim_of

FIRST = "rabbit://nova:secret@rabbit1:5672,nova:secret@rabbit2:5672/"
SECOND = "rabbit://nova:secret@rabbit3/cell2"


def test_a_cloud_that_is_given_a_further_bus_goes_on_with_the_path_of_the_first() -> None:
    alone = buses_of(vim_of(rabbit_cloud(FIRST, pool="mine")))
    both = buses_of(vim_of(rabbit_cloud(FIRST, SECOND, pool="mine")))
    assert [bus.path for bus in alone.values()] == ["Owner_Region/mine"]
    assert {name: bus.path for name, bus in both.items()} == {
        "rabbit1:5672/": "Owner_Region/mine",
        "rabbit3:5672/cell2": "Owner_Region/mine/rabbit3:5672/cell2",
    }
    assert "secret" not in repr(both)


def test_the_log_names_the_bus_where_there_are_several() -> None:
    (alone,) = buses_of(vim_of(rabbit_cloud(FIRST))).values()
    assert alone.label == "Owner_Region"
    _first, second = buses_of(vim_of(rabbit_cloud(FIRST, SECOND))).values()
    assert second.label == "Owner_Region, bus rabbit3:5672/cell2"


def test_the_buses_of_samples_have_queues_and_labels_of_their_own() -> None:
    samples = {"rabbit": {"transport_urls": [FIRST, SECOND]}}
    first, second = sample_buses_of(vim_of({**rabbit_cloud(FIRST), "samples": samples})).values()
    assert (first.label, second.label) == (
        "Owner_Region, samples, bus rabbit1:5672/",
        "Owner_Region, samples, bus rabbit3:5672/cell2",
    )
    assert first.path == "Owner_Region/vimfed-samples"
    assert (first.settings.pool, first.settings.exchange) == ("vimfed-samples", "ceilometer")
