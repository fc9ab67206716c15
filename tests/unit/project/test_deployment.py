"""The containers run what the supervisor runs, and scale: docker-compose.yml and deploy/."""

import json
import os
import re
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.paths import PROJECT
from vimfed.cli import first_login, main
from vimfed.local.kafka import DOCKER_IMAGE, POM
from vimfed.local.supervisor import services_of
from vimfed.settings import (
    GatewaySettings,
    Secret,
    Settings,
    load_settings,
    refuse_exposed_secrets,
)
from web.auth.access import refuse_open_door

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (PROJECT / "deploy" / "Dockerfile").read_text()
ALL = Settings(gateway=GatewaySettings(enabled=True))
OURS = [service.name for service in services_of(ALL)]


LOGIN = "/etc/vimfed/login"
OWN_IMAGE = SERVICES["worker"]["image"]


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the container ``login`` writes into its volume."""
    folder = str(tmp_path_factory.mktemp("login"))
    made = [each.replace(LOGIN, folder) for each in SERVICES["login"]["command"]]
    assert main(made, standalone_mode=False) is None
    return folder


def settings_of(service: str, login: str = LOGIN) -> Settings:
    """Return a container's settings; ``login``: where the volume of that name is mounted."""
    environment = SERVICES[service]["environment"]
    given = {name: value.replace(LOGIN, login) for name, value in environment.items()}
    return load_settings(PROJECT / "vimfed.toml", given)


def test_the_compose_file_is_one_by_the_specification() -> None:
    schema = json.loads((PROJECT / "tests" / "data" / "compose-spec.json").read_text())
    jsonschema.validate(COMPOSE, schema)


def test_the_containers_run_exactly_what_the_supervisor_runs() -> None:
    for service in services_of(ALL):
        assert SERVICES[service.name]["command"] == list(service.arguments)
    optional = {name for name, service in SERVICES.items() if "profiles" in service}
    monitoring = {name for name in optional if SERVICES[name]["profiles"] == ["monitoring"]}
    assert monitoring == {"prometheus", "grafana"}
    default = {service.name for service in services_of(Settings())}
    assert optional - monitoring == set(OURS) - default
    others = set(SERVICES) - set(OURS) - monitoring
    assert others == {"kafka", "rabbitmq", "proxy", "login"}


@pytest.mark.parametrize("name", OURS)
def test_every_process_finds_its_brokers_and_is_found_by_the_others(name: str, login: str) -> None:
    settings = settings_of(name, login)
    assert settings.kafka.bootstrap == "kafka:9092"
    assert [[url.reveal() for url in vim.rabbit.transport_urls] for vim in settings.vims] == [
        ["rabbit://guest:guest@rabbitmq:5672/"]
    ]
    section = {"worker": "web", "publisher": "dmaap"}.get(name, name)
    assert getattr(settings, section).host == "0.0.0.0"
    assert not settings.kafka.local


def test_nothing_is_open_to_who_has_not_logged_in(login: str) -> None:
    assert "allow_anonymous" not in str(COMPOSE).lower()
    worker, gateway = settings_of("worker", login).web, settings_of("gateway", login).gateway
    passwords = [
        Secret((Path(login) / name / "password").read_text().strip())
        for name in ("worker", "gateway")
    ]
    assert [(user.name, user.role, user.password) for user in worker.auth.users] == [
        ("operator", "admin", passwords[0])
    ]
    refuse_open_door(worker)
    assert [(user.name, user.password) for user in gateway.users] == [("operator", passwords[1])]
    assert (gateway.open_publish, gateway.open_subscribe) == ((), ())


@pytest.mark.parametrize("name", OURS)
def test_no_container_is_refused_for_a_secret_that_others_could_read(name: str, login: str) -> None:
    refuse_exposed_secrets(settings_of(name, login), name)


def test_each_login_is_of_one_container_alone() -> None:
    for owner in ("worker", "gateway", "grafana"):
        folder = f"{LOGIN}/{owner}"
        holders = {
            (name, volume.removeprefix(f"{owner}-login:"))
            for name, service in SERVICES.items()
            for volume in service.get("volumes", [])
            if volume.startswith(f"{owner}-login:")
        }
        assert holders == {("login", folder), (owner, f"{folder}:ro")}
        (made,) = re.findall(
            r"install --directory --owner=vimfed --mode=0700 \\\n *(.*)", DOCKERFILE
        )
        assert folder in made.split(), "else the volume would be root's"


def test_a_login_is_made_once_and_nobody_else_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "login"
    made = first_login.make(folder)
    assert [path.name for path in made] == ["password", "peer-secret"]
    texts = [path.read_text() for path in made]
    assert len(set(texts)) == 2
    assert all(len(text.strip()) == 32 for text in texts)
    assert {path.stat().st_mode & 0o777 for path in (folder, *made)} == {0o700, 0o400}
    assert first_login.make(folder) == []
    (folder / "password").unlink()
    assert first_login.make(folder) == [folder / "password"]
    assert (folder / "peer-secret").read_text() == texts[1]
    assert sorted(path.name for path in folder.iterdir()) == ["password", "peer-secret"]


def test_where_no_login_can_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(first_login.FirstLoginError, match=r"cannot write .*file"):
        first_login.make(tmp_path / "file")


def test_workers_scale_for_they_share_no_port_no_name_and_no_folder() -> None:
    worker = SERVICES["worker"]
    assert not {"ports", "container_name", "hostname"} & set(worker)
    # Their data lie in one volume, where each takes a folder that no other has.
    (state,) = re.findall(r"VIMFED_STATE_DIR=(\S+)", DOCKERFILE)
    written = [volume for volume in worker["volumes"] if not volume.endswith(":ro")]
    assert written == [f"worker:{state}"]
    assert worker["entrypoint"][0] == "in-own-folder"


def test_the_proxy_alone_owns_the_port_and_asks_every_worker(login: str) -> None:
    owners = [
        name
        for name, each in SERVICES.items()
        if any(port.endswith(":6066") for port in each.get("ports", []))
    ]
    assert owners == ["proxy"]
    config = (PROJECT / "deploy" / "haproxy.cfg").read_text()
    assert re.search(r"bind :6066\n", config)
    port = settings_of("worker", login).web.port
    assert re.search(rf"server-template \w+ \d+ worker:{port} resolvers docker", config)
    assert "httpchk GET /readyz" in config


def test_each_process_of_ours_is_asked_whether_it_works(login: str) -> None:
    ports = {
        "bridge": settings_of("bridge").bridge.port,
        "publisher": settings_of("publisher").dmaap.port,
        "worker": settings_of("worker", login).web.monitoring_port,
        "gateway": settings_of("gateway", login).gateway.monitoring_port,
    }
    assert ports.keys() == set(OURS)
    published = str([service.get("ports") for service in SERVICES.values()])
    for name, port in ports.items():
        assert SERVICES[name]["healthcheck"]["test"] == ["CMD", "healthcheck", str(port)]
        assert SERVICES[name]["init"] is True, "else a process that hangs cannot be ended"
        assert str(port) not in published
    assert f'CMD ["healthcheck", "{Settings().web.port}"]' in DOCKERFILE
    assert "COPY deploy/image/healthcheck.py /usr/local/bin/healthcheck\n" in DOCKERFILE
    assert os.access(PROJECT / "deploy" / "image" / "healthcheck.py", os.X_OK)


def test_nothing_starts_before_the_broker_that_it_needs() -> None:
    for name in OURS:
        assert SERVICES[name]["depends_on"]["kafka"] == {"condition": "service_healthy"}
        assert SERVICES[name]["restart"] == "unless-stopped"


def test_all_images_are_pinned() -> None:
    images = {service["image"] for service in SERVICES.values()} - {OWN_IMAGE}
    images |= set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    for image in images:
        assert re.search(r":v?\d+\.\d+\.\d+", image), image
    (locks,) = re.findall(r"^COPY (.*\.lock) \./$", DOCKERFILE, re.MULTILINE)
    installed = re.findall(r"pip install.* -r (\S+)", DOCKERFILE)
    (chosen,) = re.findall(r"^ARG REQUIREMENTS=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert {chosen if each == "$REQUIREMENTS" else each for each in installed} | {
        "requirements-tracing.lock"
    } == {Path(lock).name for lock in locks.split()}
    assert all((PROJECT / lock).exists() for lock in locks.split())
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
        assert {f"!{source}", f"!{Path(source).parent}"} & set(ignored), source


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
