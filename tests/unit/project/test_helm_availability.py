"""What the chart does so that queries are answered while pods come and go, and Kafka is away."""

from typing import Any

from tests.support.helm_chart import Document, of_kind, pods, rendered

GATEWAY = "gateway: {enabled: true, replicas: 2}\nbridge: {replicas: 2}\npublisher: {replicas: 2}\n"


def the_container(component: str, values: str = GATEWAY) -> Document:
    (container,) = dict(pods(rendered(values)))[component]["spec"]["containers"]
    found: Document = container
    return found


def workers() -> Any:
    (found,) = of_kind("StatefulSet", rendered(GATEWAY))
    return found["spec"]


def test_workers_find_each_other_by_addresses_which_no_cache_of_names_keeps() -> None:
    given = {each["name"]: each for each in the_container("worker")["env"]}
    assert given["VIMFED_WEB__CANONICAL_URL"]["value"] == "http://$(POD_IP):6066"
    assert given["POD_IP"]["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    names = list(given)
    assert names.index("POD_IP") < names.index("VIMFED_WEB__CANONICAL_URL")


def test_who_is_behind_a_service_answers_until_the_nodes_know_that_it_ends() -> None:
    for component, template in pods(rendered(GATEWAY)):
        (container,) = template["spec"]["containers"]
        grace = template["spec"]["terminationGracePeriodSeconds"]
        if component in ("worker", "gateway"):
            assert container["lifecycle"] == {"preStop": {"exec": {"command": ["sleep", "5"]}}}
            assert grace == 35
        else:
            assert "lifecycle" not in container
            assert grace == 30


def test_one_worker_is_replaced_at_a_time_and_has_been_ready_for_a_while() -> None:
    assert workers()["updateStrategy"] == {"type": "RollingUpdate"}
    assert workers()["minReadySeconds"] == 10


def test_stale_answers_are_had_while_no_worker_is_ready() -> None:
    services = {each["metadata"]["name"]: each for each in of_kind("Service", rendered(GATEWAY))}
    plain = services["r-vim-event-federation"]["spec"]
    stale = services["r-vim-event-federation-stale"]["spec"]
    assert "publishNotReadyAddresses" not in plain
    assert stale == {**plain, "publishNotReadyAddresses": True}
    for component in ("worker", "gateway"):
        (config,) = [
            each["data"]["vimfed.toml"]
            for each in of_kind("ConfigMap", rendered(GATEWAY))
            if each["metadata"]["name"] == f"r-vim-event-federation-{component}"
        ]
        assert '"r-vim-event-federation-stale.default.svc"' in config


def test_a_drain_does_not_wait_for_pods_that_are_not_ready() -> None:
    budgets = of_kind("PodDisruptionBudget", rendered(GATEWAY))
    assert {each["metadata"]["name"] for each in budgets} == {
        f"r-vim-event-federation-{component}"
        for component in ("bridge", "worker", "publisher-dmaap", "gateway")
    }
    assert {each["spec"]["unhealthyPodEvictionPolicy"] for each in budgets} == {"AlwaysAllow"}
