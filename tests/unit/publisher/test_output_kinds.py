"""Each kind of output can be named in the settings, and each that can be named is there."""

import pytest

from streams.publisher.outputs.kinds import KINDS, kind_of
from streams.publisher.outputs.tenants import TenantsOutput
from vimfed.settings import DmaapOutput
from vimfed.settings.checks import _OUTPUT_URLS


def test_the_settings_take_the_urls_of_every_kind_and_of_no_other() -> None:
    assert _OUTPUT_URLS.keys() == KINDS.keys()


def test_a_topic_for_each_project_is_a_kind_of_its_own() -> None:
    assert kind_of(DmaapOutput(url="kafka://a:1/t.{project_id}")).build is TenantsOutput


@pytest.mark.parametrize("url", ["kafka://a:9092,b:9092/topic", "https://mr:3905/events/topic"])
def test_the_scheme_of_the_url_says_the_kind(url: str) -> None:
    assert kind_of(DmaapOutput(url=url)) == KINDS[url.partition(":")[0]]
