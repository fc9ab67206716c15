"""Subscriptions that a project keeps of its own, and which outputs heed them.

Such a one is called ``NAME@PROJECT`` on the subscriptions topic, and everywhere but towards the
project itself. No other name has an ``@``.
"""

from streams.subscriptions.filters import MAX_SUBSCRIPTIONS, Heeds, Subscription, heeds_all
from vimfed.model.projects import is_project_id
from vimfed.settings import Settings

MAX_OF_PROJECTS = MAX_SUBSCRIPTIONS - 200
"""So many subscriptions all projects may have together: what is left is for those who operate."""


def name_of(project: str, name: str) -> str:
    """Return how a project's subscription is called among all."""
    return f"{name}@{project}"


def split_name(name: str) -> tuple[str, str]:
    """Return how its owner calls a subscription, and the owner's project; empty: it is nobody's."""
    own, _at, project = name.partition("@")
    return own, project


def heeds_of(settings: Settings) -> Heeds:
    """Return which subscriptions the outputs of ``settings`` heed.

    An output with a topic for each project heeds those that name it, and no other. A project's own
    is heeded by such an output alone, for that project alone, and while self-service is on.
    """
    of_tenants = {output.name for output in settings.outputs() if output.is_of_tenants}
    is_on = settings.self_service.per_project > 0

    def heeds(output: str, name: str, subscription: Subscription) -> bool:
        project = split_name(name)[1]
        if project and not (
            is_on
            and output in of_tenants
            and is_project_id(project)
            and subscription.tenants == (project,)
        ):
            return False
        if output in of_tenants:
            return subscription.output == output
        return heeds_all(output, name, subscription)

    return heeds
