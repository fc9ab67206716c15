"""The containers run what the supervisor runs, and scale: docker-compose.yml and deploy/."""

import json
import re
import tomllib
import xml.etree.ElementTree as ElementTree
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.paths import PROJECT
from vimfed.local.kafka import DOCKER_IMAGE, POM
from vimfed.local.supervisor import services_of
from vimfed.settings import GatewaySettings, Settings, load_settings

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (PROJECT / "deploy" / "Dockerfile").read_text()
ALL = Settings(gateway=GatewaySettings(enabled=True))
OURS = [service.name for service in services_of(ALL)]


def settings_of(service: str) -> Settings:
    return load_settings(PROJECT / "vimfed.toml", SERVICES[service]["environment"])


def test_the_compose_file_is_one_by_the_specification() -> None:
    schema = json.loads((PROJECT / "tests" / "data" / "compose-spec.json").read_text())
    jsonschema.validate(COMPOSE, schema)


def test_the_containers_run_exactly_what_the_supervisor_runs() -> None:
    for service in services_of(ALL):
        assert SERVICES[service.name]["command"] == list(service.arguments)
    optional = {name for name, service in SERVICES.items() if "profiles" in service}
    assert optional == set(OURS) - {service.name for service in services_of(Settings())}
    others = set(SERVICES) - set(OURS)
    assert others == {"kafka", "rabbitmq", "proxy"}


@pytest.mark.parametrize("name", OURS)
def test_every_process_finds_its_brokers_and_is_found_by_the_others(name: str) -> None:
    settings = settings_of(name)
    assert settings.kafka.bootstrap == "kafka:9092"
    assert [[url.reveal() for url in vim.rabbit.transport_urls] for vim in settings.vims] == [
        ["rabbit://guest:guest@rabbitmq:5672/"]
    ]
    hosts = settings.web.host, settings.bridge.host, settings.dmaap.host, settings.gateway.host
    assert set(hosts) == {"0.0.0.0"}
    assert not settings.kafka.local


def test_workers_scale_for_they_share_no_port_no_name_and_no_folder() -> None:
    worker = SERVICES["worker"]
    assert not {"ports", "container_name", "hostname"} & set(worker)
    assert [volume for volume in worker["volumes"] if not volume.endswith(":ro")] == []
    # Its data lie in the container's own anonymous volume.
    (state,) = re.findall(r"VIMFED_STATE_DIR=(\S+)", DOCKERFILE)
    assert f"\nVOLUME {state}\n" in DOCKERFILE


def test_the_proxy_alone_owns_the_port_and_asks_every_worker() -> None:
    owners = [
        name for name, each in SERVICES.items() if "127.0.0.1:6066:6066" in each.get("ports", [])
    ]
    assert owners == ["proxy"]
    config = (PROJECT / "deploy" / "haproxy.cfg").read_text()
    assert re.search(r"bind :6066\n", config)
    port = settings_of("worker").web.port
    assert re.search(rf"server-template \w+ \d+ worker:{port} resolvers docker", config)
    assert "httpchk GET /readyz" in config


def test_what_can_be_asked_for_its_health_is_asked() -> None:
    assert f"127.0.0.1:{settings_of('worker').web.port}/healthz" in DOCKERFILE
    assert "healthcheck" not in SERVICES["worker"]
    bridge, publisher = SERVICES["bridge"], SERVICES["publisher"]
    bridge_port, publisher_port = (
        settings_of("bridge").bridge.port,
        settings_of("publisher").dmaap.port,
    )
    assert f"127.0.0.1:{bridge_port}/healthz" in bridge["healthcheck"]["test"][-1]
    assert f"127.0.0.1:{publisher_port}/healthz" in publisher["healthcheck"]["test"][-1]
    for name in ("kafka", "rabbitmq"):
        assert SERVICES[name]["healthcheck"]["test"]


def test_nothing_starts_before_the_broker_that_it_needs() -> None:
    for name in OURS:
        assert SERVICES[name]["depends_on"]["kafka"] == {"condition": "service_healthy"}
        assert SERVICES[name]["restart"] == "unless-stopped"


def test_all_images_are_pinned() -> None:
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    for image in images:
        assert re.search(r":\d+\.\d+\.\d+", image), image
    for lock in re.findall(r"pip install.* -r (\S+)", DOCKERFILE):
        assert (PROJECT / lock).exists()
    assert all("--require-hashes" in line for line in DOCKERFILE.splitlines() if " -r " in line)


def test_the_image_does_not_run_as_root_and_holds_the_packages_of_the_wheel() -> None:
    final_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\S+)", final_stage, re.MULTILINE) == ["vimfed"]
    copied = set(re.findall(r"^COPY (\w+) \w+$", DOCKERFILE, re.MULTILINE))
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    assert copied == set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()
    sources = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    for source in " ".join(sources).split():
        assert f"!{source}" in ignored


@pytest.mark.parametrize("name", OURS)
def test_no_container_of_ours_may_do_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_kafka_is_the_same_version_everywhere() -> None:
    namespace = {"m": "http://maven.apache.org/POM/4.0.0"}
    version = ElementTree.parse(POM).findtext("m:properties/m:kafka.version", None, namespace)
    assert f"apache/kafka:{version}" == DOCKER_IMAGE
    assert SERVICES["kafka"]["image"] == DOCKER_IMAGE
