"""Which subscriptions an output heeds, where projects keep some of their own."""

import pytest

from streams.subscriptions.filters import DEFAULT, Subscription, SubscriptionHistory
from streams.subscriptions.projects import heeds_of, name_of, split_name
from vimfed.model.projects import is_project_id
from vimfed.settings import DmaapOutput, DmaapSettings, SelfServiceSettings, Settings

ONE, OTHER = "1" * 32, "2" * 32
OUTPUTS = [
    DmaapOutput(name="all", url="kafka://a:1/t"),
    DmaapOutput(name="tenants", url="kafka://a:1/t.{project_id}"),
]
LATER = 10_000
"""When all that is added holds, in ms."""


def heeded(output: str, name: str, subscription: Subscription, per_project: int = 1) -> bool:
    settings = Settings(
        dmaap=DmaapSettings(outputs=OUTPUTS),
        self_service=SelfServiceSettings(per_project=per_project),
    )
    history = SubscriptionHistory(None, heeds=heeds_of(settings))
    history.add(name, subscription, 0)
    return bool(history.matchers(output, LATER))


@pytest.mark.parametrize(
    ("output", "name", "subscription", "wanted"),
    [
        ("all", "x", Subscription(), True),
        ("all", "x", Subscription(output="all"), True),
        ("tenants", "x", Subscription(), False),
        ("tenants", DEFAULT, Subscription(), False),
        ("tenants", "x", Subscription(output="all"), False),
        ("tenants", "x", Subscription(output="tenants"), True),
        ("tenants", name_of(ONE, "x"), Subscription(output="tenants", tenants=(ONE,)), True),
        # A topic on which others have written, or settings of another day:
        ("tenants", name_of(ONE, "x"), Subscription(output="tenants", tenants=(OTHER,)), False),
        ("tenants", name_of(ONE, "x"), Subscription(output="tenants", tenants=(ONE, OTHER)), False),
        ("tenants", name_of(ONE, "x"), Subscription(output="tenants"), False),
        ("tenants", name_of(ONE, "x"), Subscription(tenants=(ONE,)), False),
        ("tenants", name_of("a.b", "x"), Subscription(output="tenants", tenants=("a.b",)), False),
        ("all", name_of(ONE, "x"), Subscription(output="all", tenants=(ONE,)), False),
        ("all", name_of(ONE, "x"), Subscription(tenants=(ONE,)), False),
    ],
)
def test_an_output_for_projects_heeds_what_names_it_and_projects_for_themselves_alone(
    output: str, name: str, subscription: Subscription, wanted: bool
) -> None:
    assert heeded(output, name, subscription) is wanted


def test_where_self_service_is_off_what_projects_keep_does_nothing() -> None:
    own = Subscription(output="tenants", tenants=(ONE,))
    assert not heeded("tenants", name_of(ONE, "x"), own, per_project=0)
    assert heeded("tenants", "x", own, per_project=0)


def test_a_name_says_whose_it_is() -> None:
    assert split_name(name_of(ONE, "x")) == ("x", ONE)
    assert split_name("x") == ("x", "")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("0123456789abcdef0123456789abcdef", True),
        ("01234567-89ab-cdef-0123-456789abcdef", True),
        ("", False),
        ("default", False),
        ("0123456789abcdef0123456789abcde", False),
        ("0123456789abcdef0123456789abcdef\n", False),
        ("0123456789ABCDEF0123456789ABCDEF", False),
        ("0123456789abcdef0123456789abcd..", False),
        ("0123456789abcdef/123456789abcdef", False),
        ("\u0660123456789abcdef0123456789abcdef", False),
    ],
)
def test_a_project_id_is_what_keystone_makes(text: str, is_one: bool) -> None:
    assert is_project_id(text) is is_one
