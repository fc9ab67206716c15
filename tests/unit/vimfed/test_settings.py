"""Settings: what a file and the environment make of them, and what is refused with which words."""

import logging
import re
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.paths import PROJECT
from vimfed import settings as settings_module
from vimfed.cli.settings_reference import reference
from vimfed.settings import (
    CloudKafkaSettings,
    PollSettings,
    RabbitSettings,
    Secret,
    Settings,
    SettingsError,
    VimSettings,
    load_settings,
)
from vimfed.settings.moved import MOVED
from vimfed.settings.texts import texts_of

SAMPLE = PROJECT / "vimfed.toml"

CLOUD = """
[[vims]]
cloud_owner = "CloudOwner"
cloud_region_id = "RegionOne"
[vims.rabbit]
transport_urls = ["rabbit://nova:secret@mq/"]
"""

POLLED = """
[[vims]]
cloud_owner = "CloudOwner"
cloud_region_id = "RegionOne"
[vims.poll]
"""

KAFKA_CLOUD = """
[[vims]]
cloud_owner = "CloudOwner"
cloud_region_id = "RegionOne"
[vims.kafka]
bootstrap = "mq:9092"
"""

OLD_CLOUD = """
[[vims]]
cloud_owner = "CloudOwner"
cloud_region_id = "RegionOne"
"""

OF_TENANTS = """
[[dmaap.outputs]]
name = "own"
url = "kafka://a:1/t.{project_id}"
"""
OUTPUT = """
[[dmaap.outputs]]
name = "onap"
url = "kafka://a:1/t"
"""


MEASURES = 'carries = "measurements"\n'

PROMETHEUS = f"{OLD_CLOUD}[vims.samples.prometheus]\nurl = 'http://p:9090'\n"
QUERY = "[[vims.samples.prometheus.queries]]\nmeter = 'cpu'\nquery = 'a'\n"
MEASURED_CLOUD = f"{OLD_CLOUD}[vims.samples]\npushed = true\n"

VES = """
[[dmaap.outputs]]
name = "onap"
url = "ves+https://a:1,b:1/eventListener/v7"
"""

WEBHOOK = """
[[dmaap.outputs]]
name = "hook"
url = "webhook+https://a:1/hooks"

[dmaap.outputs.webhook]
"""


def load(tmp_path: Path, text: str, **environ: str) -> Settings:
    path = tmp_path / "vimfed.toml"
    path.write_text(text)
    return load_settings(path, environ)


def refusal(tmp_path: Path, text: str, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text, **environ)
    return str(caught.value)


def test_without_a_file_the_defaults_hold() -> None:
    settings = load_settings(None, {})
    assert settings == Settings()
    assert settings.kafka.bootstrap == "127.0.0.1:9092"
    assert settings.web.port == 6066


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        'state_dir = "here"\n[kafka]\nbootstrap = "a:1"\npartitions = 4\n' + CLOUD,
        VIMFED_KAFKA__BOOTSTRAP="b:2",
        VIMFED_WEB__PORT="7000",
        VIMFED_KAFKA__LOCAL="true",
        VIMFED_STATE_DIR="/var/lib/vimfed",
        VIMFED_VIMS__CLOUDOWNER_REGIONONE__RABBIT__TRANSPORT_URLS="rabbit://c:3 rabbit://d/v",
        VIMFED_VIMS__CLOUDOWNER_REGIONONE__KAFKA__GROUP="mine",
        VIMFED_VIMS__CLOUDOWNER_REGIONONE__KAFKA__BOOTSTRAP="e:4",
        VIMFED_CONFIG="not a setting",
        PATH="not ours",
    )
    assert (settings.kafka.bootstrap, settings.kafka.partitions) == ("b:2", 4)
    assert settings.kafka.local
    assert settings.web.port == 7000
    assert settings.state_dir == Path("/var/lib/vimfed")
    assert list(settings.vims[0].rabbit.buses) == ["c:3/", "d:5672/v"]
    assert (settings.vims[0].kafka.group, settings.vims[0].kafka.bootstrap) == ("mine", "e:4")


def test_a_cloud_whose_name_has_other_characters_is_reached_by_environment(tmp_path: Path) -> None:
    text = CLOUD.replace("RegionOne", "region-1.a")
    name = "VIMFED_VIMS__CLOUDOWNER_REGION_1_A__RABBIT__POOL"
    assert load(tmp_path, text, **{name: "mine"}).vims[0].rabbit.pool == "mine"


def test_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("one\n")
    (tmp_path / "urls").write_text("rabbit://nova:two@mq/\nrabbit://nova:three@mq/v\n")
    settings = load(
        tmp_path,
        f'[kafka]\npassword_file = "{tmp_path}/password"\n{CLOUD}'
        f'transport_urls_file = "{tmp_path}/urls"\n',
    )
    assert settings.kafka.password.reveal() == "one"
    assert [url.reveal() for url in settings.vims[0].rabbit.transport_urls] == [
        "rabbit://nova:two@mq/",
        "rabbit://nova:three@mq/v",
    ]


def test_each_domain_of_a_ves_output_on_kafka_has_a_topic(tmp_path: Path) -> None:
    text = OUTPUT.replace("kafka://a:1/t", "ves+kafka://a:1,b:1")
    (output,) = load(tmp_path, text).dmaap.outputs
    assert output.topics == (
        "unauthenticated.SEC_FAULT_OUTPUT",
        "unauthenticated.VES_NOTIFICATION_OUTPUT",
        "unauthenticated.SEC_HEARTBEAT_OUTPUT",
    )
    text += 'ves_domains = ["fault", "heartbeat"]\n[dmaap.outputs.ves_topics]\n'
    (output,) = load(tmp_path, text + 'fault = "x"\nheartbeat = "x"\n').dmaap.outputs
    assert output.topics == ("x",)
    assert load(tmp_path, OUTPUT).dmaap.outputs[0].topics == ("t",)


def test_an_output_of_measurements_has_their_domain_their_topic_and_their_time(
    tmp_path: Path,
) -> None:
    text = OUTPUT.replace("kafka://a:1/t", "ves+kafka://a:1") + MEASURES
    settings = load(tmp_path, MEASURED_CLOUD + text + OUTPUT.replace("onap", "events"))
    measurements, events = settings.dmaap.outputs
    assert measurements.topics == ("unauthenticated.VES_MEASUREMENT_OUTPUT",)
    assert settings.give_up_after(events) == settings.dmaap.give_up_after == 302400
    assert settings.give_up_after(measurements) == settings.kafka.retention.measurements / 2
    short = load(tmp_path, MEASURED_CLOUD + "[dmaap]\ngive_up_after = 60\n" + text)
    assert short.give_up_after(short.dmaap.outputs[0]) == 60
    # A publisher's settings by themselves may have no clouds.
    assert load(tmp_path, text).dmaap.outputs[0].domains == ("measurement",)


def test_an_outputs_password_comes_by_environment_or_from_a_file(tmp_path: Path) -> None:
    name = "VIMFED_DMAAP__OUTPUTS__ONAP__PASSWORD"
    assert load(tmp_path, OUTPUT, **{name: "one"}).dmaap.outputs[0].password.reveal() == "one"
    (tmp_path / "password").write_text("two\n")
    text = f'{OUTPUT}password_file = "{tmp_path}/password"\n'
    assert load(tmp_path, text).dmaap.outputs[0].password.reveal() == "two"


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("[web]", "canonical_url"),
        (f"[web.auth]\npeer_secret = '{'x' * 20}'\n[web.auth.keystone]", "url"),
        (f"{POLLED}username = 'u'\nproject_name = 'p'", "auth_url"),
    ],
)
def test_a_user_in_a_url_is_refused_and_not_shown(tmp_path: Path, section: str, key: str) -> None:
    """Keystone's URL is told to everybody who is to log in."""
    told = refusal(tmp_path, f'{section}\n{key} = "https://who:secret@host/"\n')
    assert f"{key} names a user: it is shown to others" in told
    assert "secret" not in told


def test_a_previous_secret_of_the_workers_stands_beside_the_present_one(tmp_path: Path) -> None:
    long, short = "x" * 20, "too short"
    previous = "[web.auth]\npeer_secret_previous = "
    assert "needs peer_secret" in refusal(tmp_path, f"{previous}'{long}'\n")
    told = refusal(tmp_path, f"{previous}'{short}'\npeer_secret = '{long}'\n")
    assert "peer_secret_previous has 16 characters at least" in told
    assert long not in told
    assert short not in told


def test_keystone_is_asked_for_no_cloud_by_accident(tmp_path: Path) -> None:
    auth = f"[web.auth]\npeer_secret = '{'x' * 20}'\n[web.auth.keystone]\nurl = 'https://k:5000'\n"
    one, two = (f"[[vims]]\ncloud_owner = 'O'\ncloud_region_id = '{each}'\n" for each in "AB")
    for fine in (auth, auth + one, one + two, auth + "clouds = ['*']\n" + one + two):
        load(tmp_path, fine)
    assert refusal(tmp_path, auth + one + two) == (
        "web.auth.keystone: several clouds stand in [[vims]]: name in clouds those whose Keystone "
        'it is, or all: clouds = ["*"]'
    )


def test_a_project_that_sees_all_tenants_is_named_with_its_domain(tmp_path: Path) -> None:
    section = "[web.auth.keystone]\nall_tenants_projects = "
    assert load(tmp_path, f"{section}['a b@Default', '{'0' * 32}']")
    for ambiguous in ("admin", "admin@", "@Default", "0" * 31):
        assert "all_tenants_projects" in refusal(tmp_path, f"{section}['{ambiguous}']")


def test_the_login_of_the_own_cluster_goes_to_no_other(tmp_path: Path) -> None:
    kafka = """
    [kafka]
    bootstrap = "one:9092,two:9092"
    security_protocol = "SASL_PLAINTEXT"
    username = "job"
    password = "secret"
    """
    with_brokers = OUTPUT.replace("a:1", "ONE:9093,two:9093")
    assert load(tmp_path, kafka + with_brokers).dmaap.outputs
    assert load(tmp_path, kafka + OUTPUT + 'security_protocol = "PLAINTEXT"').dmaap.outputs
    assert load(tmp_path, OUTPUT).dmaap.outputs, "there is no login to give"
    assert refusal(tmp_path, kafka + OUTPUT) == (
        "dmaap.outputs: onap: a is not in kafka.bootstrap, and the login of [kafka] is for its own "
        "cluster: say security_protocol here, and the login of this one"
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[kafka]\nbootstap = 'x'\n", "unknown key kafka.bootstap: did you mean kafka.bootstrap?"),
        ("[kafak]\n", "unknown key kafak: did you mean kafka?"),
        (CLOUD + "pol = 'x'\n", "unknown key vims.rabbit.pol: did you mean vims.rabbit.pool?"),
        ("[kafka\n", "vimfed.toml is not valid TOML: "),
        ("[kafka]\npartitions = 0\n", "Expected `int` >= 1 - at `$.kafka.partitions`"),
        ("[kafka]\nsecurity_protocol = 'TLS'\n", "at `$.kafka.security_protocol`"),
        ("kafka = 3\n", "Expected `object`, got `int` - at `$.kafka`"),
        ("state_dir = 3\n", "at `$.state_dir`"),
        ("[kafka]\npassword_file = '/none'\n", "cannot read the secret file /none: No such file"),
        (CLOUD.replace("CloudOwner", "Cloud_Owner"), "cloud_owner 'Cloud_Owner' contains '_'"),
        (CLOUD.replace("RegionOne", "Region/One"), "'CloudOwner_Region/One' contains '/'"),
        (CLOUD + CLOUD, "CloudOwner_RegionOne stands there twice"),
        (
            CLOUD.replace("rabbit:", "http:"),
            "transport_urls must begin with rabbit://, not http://",
        ),
        (CLOUD.replace('"CloudOwner"', '""'), "at `$.vims[0].cloud_owner`"),
        (OUTPUT + OUTPUT, "dmaap.outputs: onap stands there twice"),
        (OUTPUT.replace("kafka:", "ftp:"), "must begin with kafka://, http:// or https://"),
        (OUTPUT.replace("//a:1", "//me:secret@a:1"), "the url names a user"),
        (
            OUTPUT.replace("kafka://a:1/t", "http://a:1/t"),
            "look like http://host:port/events/topic",
        ),
        (VES.replace("v7", "v3"), "look like ves+https://host:port/eventListener/v7"),
        (VES + 'format = "cloudevents"\n', 'a ves+https:// output takes format = "ves" alone'),
        (
            VES + 'ves_version = "5.4"\n',
            'the url ends in /eventListener/v7, and ves_version is "5.4"',
        ),
        (
            VES.replace("v7", "v5"),
            '/eventListener/v5, and ves_version is "7.2.1": /v5 goes with "5.4"',
        ),
        (
            VES.replace("v7", "v5") + 'ves_version = "5.4"\nves_domains = ["notification"]\n',
            'ves_domains: ves_version = "5.4" has no domain notification',
        ),
        (VES + 'ves_domains = ["measurement"]\n', 'is for outputs with carries = "measurements"'),
        (
            MEASURED_CLOUD + VES + MEASURES + 'ves_domains = ["measurement", "fault"]\n',
            'ves_domains: fault is for outputs with carries = "events"',
        ),
        (
            MEASURED_CLOUD + OUTPUT + MEASURES + 'ves_version = "5.4"\n',
            'ves_version = "5.4" has no domain measurement: say "7.2.1" or "7.1"',
        ),
        (
            CLOUD + OUTPUT + MEASURES,
            'carries = "measurements", and no cloud takes samples: there would '
            "never be one; say in [vims.samples] of a cloud",
        ),
        (VES + "[dmaap.outputs.ves_severities]\nvm_error = 'BAD'\n", "ves_severities.vm_error"),
        (VES + "[dmaap.outputs.ves_topics]\nfault = 'a/b'\n", "ves_topics.fault"),
        (WEBHOOK.replace("/hooks", "/hooks?code=1"), "a webhook's url has no query"),
        (WEBHOOK.replace("a:1", "a..b:1"), "must look like webhook+https://host:port/path"),
        (WEBHOOK.replace("a:1", "a" * 64), "must look like webhook+https://host:port/path"),
        (WEBHOOK + 'token = "a\\nb"\n', "webhook.token must be ASCII without spaces"),
        (WEBHOOK.replace("a:1", "a:1,b:1"), "must look like webhook+https://host:port/path"),
        (WEBHOOK + 'allowed_networks = ["10.1/99"]\n', "10.1/99 is no address or network"),
        (
            WEBHOOK.replace("[dmaap.outputs.", 'username = "u"\n[dmaap.outputs.') + 'token = "t"\n',
            "webhook.token contradicts username",
        ),
        (
            OUTPUT + "[dmaap.outputs.webhook]\nparallel = 2\n",
            "[dmaap.outputs.webhook] has no effect: the url is no webhook+https://",
        ),
        (VES.replace("ves+https", "ves+ftp"), "must begin with kafka://, http:// or https://"),
        (
            OUTPUT.replace("kafka://a:1/t", "ves+kafka://a:1/t"),
            "must look like ves+kafka://host:port",
        ),
        ("[filter]\noutput = 'x'\n", "filter.output: there is no output 'x'"),
        (POLLED + "auth_url = 'keystone:5000'\n", "auth_url must begin with http:// or https://"),
        (POLLED + "auth_url = 'http://k:5000'\n", "auth_url needs username and project_name, or"),
        (POLLED + "auth_url = 'http://k:five'\n", "auth_url is no URL"),
        (POLLED + "auth_url = 'http:///v3'\n", "auth_url names no host"),
        (CLOUD.replace("rabbit:", "rabbitmq:"), "must begin with rabbit://, not rabbitmq://"),
        (CLOUD.replace("mq/", "mq:five/"), "transport_urls must look like rabbit://user:password@"),
        (CLOUD.replace("nova:secret@mq", ""), "transport_urls must look like rabbit://"),
        (CLOUD.replace("nova:secret@", "nova:5/secret@"), "written otherwise: / as %2F"),
        (CLOUD.replace("nova:secret@", "nova:[secret@"), "written otherwise"),
        (CLOUD.replace("rabbit://", "nova:secret@"), "must begin with rabbit://, not nova...://"),
        (CLOUD + CLOUD.replace("One", "Two"), "CloudOwner_RegionOne and CloudOwner_RegionTwo have"),
        (
            CLOUD.replace('mq/"', 'mq/", "rabbit://other@MQ:5672"'),
            "CloudOwner_RegionOne: transport_urls: mq:5672/ stands there twice",
        ),
        (
            KAFKA_CLOUD + KAFKA_CLOUD.replace("One", "Two"),
            "have the same Kafka mq:9092/ and the same group",
        ),
        (
            CLOUD.replace('["rabbit://nova:secret@mq/"]', "[]") + "pool = 'x'\n",
            "[vims.rabbit] has no",
        ),
        (POLLED + "interval = 5\n", "[vims.poll] has no effect without auth_url"),
        (
            CLOUD + "[vims.samples.rabbit]\npool = 'x'\n",
            "CloudOwner_RegionOne: [vims.samples.rabbit] has no effect without transport_urls",
        ),
        (
            CLOUD + "[vims.samples.kafka]\ngroup = 'x'\n",
            "CloudOwner_RegionOne: [vims.samples.kafka] has no effect without bootstrap",
        ),
        (
            POLLED + "auth_url = 'http://k/v3'\nusername = 'u'\nproject_name = 'p'\n"
            "[vims.samples]\nusage = true\n",
            "samples: usage has no effect without [vims.rabbit] or [vims.kafka]",
        ),
        (
            CLOUD + "[vims.samples.rabbit]\ntransport_urls = ['amqp://mq/']\n",
            "CloudOwner_RegionOne: samples: transport_urls must begin with rabbit://",
        ),
        (
            CLOUD + "[vims.samples.rabbit]\ntransport_urls = ['rabbit://mq/']\npool = 'vimfed'\n",
            "CloudOwner_RegionOne and CloudOwner_RegionOne: samples have the same message bus "
            "mq:5672/ and the same pool",
        ),
        (
            KAFKA_CLOUD + "[vims.samples.kafka]\nbootstrap = 'mq:9092'\ngroup = 'vimfed'\n",
            "CloudOwner_RegionOne and CloudOwner_RegionOne: samples have the same Kafka mq:9092/ "
            "and the same group",
        ),
        (
            CLOUD + "[vims.samples.kafka]\nbootstrap = 'mq:port'\n",
            "CloudOwner_RegionOne: samples: kafka: bootstrap must look like",
        ),
        (
            CLOUD + "[vims.samples.prometheus]\ntimeout = 5\n",
            "CloudOwner_RegionOne: [vims.samples.prometheus] has no effect without url",
        ),
        (
            f"{PROMETHEUS}{QUERY}host_label = 'h'\n[vims.samples]\nusage = true\n",
            "samples: usage has no effect without [vims.rabbit] or [vims.kafka]",
        ),
        (PROMETHEUS, "samples.prometheus: url needs built_in, or queries"),
        (PROMETHEUS.replace("http:", "ftp:"), "samples.prometheus: url must begin with http://"),
        (PROMETHEUS.replace("9090", "9090/?a=1"), "samples.prometheus: url has more than a path"),
        *(
            (
                f"{PROMETHEUS}{QUERY}host_label = 'h'\nfactor = {factor}\n",
                f"samples.prometheus: query cpu: factor = {factor} leaves nothing of a value",
            )
            for factor in (0, "nan", "inf")
        ),
        (PROMETHEUS + "built_in = ['libvirt']\n", "built_in"),
        (
            PROMETHEUS + "bearer_token = 'secret'\nusername = 'u'\npassword = 'secret'\n",
            "samples.prometheus: username and bearer_token exclude each other",
        ),
        (PROMETHEUS + "username = 'u'\n", "samples.prometheus: username and password go together"),
        (
            f"{PROMETHEUS}{QUERY}",
            "samples.prometheus: query cpu: say instance_label, or host_label",
        ),
        (
            f"{PROMETHEUS}{QUERY}host_label = 'h'\ninstance_label = 'i'\n",
            "samples.prometheus: query cpu: say instance_label, or host_label",
        ),
        (
            PROMETHEUS + 2 * f"{QUERY}host_label = 'h'\n",
            "samples.prometheus: query cpu stands there twice",
        ),
        (
            f"{PROMETHEUS}delay = 60\n{QUERY}host_label = 'h'\n",
            "samples.prometheus: delay = 60 is not less than metrics.grace = 60",
        ),
        (KAFKA_CLOUD.replace("bootstrap", "group"), "[vims.kafka] has no effect without bootstrap"),
        (KAFKA_CLOUD + "username = 'u'\n", "kafka: username and security_protocol = SASL_PLAIN"),
        (
            KAFKA_CLOUD + "security_protocol = 'SASL_SSL'\n",
            "CloudOwner_RegionOne: kafka: username and security_protocol",
        ),
        (KAFKA_CLOUD + "heartbeat = 60\n", "unknown key vims.kafka.heartbeat"),
        (KAFKA_CLOUD.replace("mq:9092", "mq:x"), "kafka: bootstrap must look like host:port"),
        (POLLED + "pool = 'x'\n", "unknown key vims.poll.pool"),
        ("[kafka]\nbootstrap = 'a:b:c'\n", "must look like host:port,host:port, unlike 'a:b:c'"),
        ("[kafka]\nbootstrap = 'a:65536'\n", "must look like host:port,host:port"),
        ("[kafka]\nbootstrap = '[1:2]:9092'\n", "must look like host:port,host:port"),
        ("[kafka]\nbootstrap = 'a:9o92'\n", "must look like host:port,host:port, unlike 'a:9o92'"),
        ("[kafka]\nbootstrap = 'a:1,'\n", "must look like host:port"),
        ("[kafka]\nbootstrap = 'kafka://a:1'\n", "must look like host:port"),
        ("[kafka]\nmin_insync_replicas = 2\n", "is more than replication = 1"),
        ("[kafka.retention]\nevents = 86400\n", "is more than kafka.retention.events = 86400"),
        (OUTPUT.replace("a:1", "a:one"), "url must look like kafka://host:port/topic"),
        (OUTPUT.replace("a:1", "[a"), "url is no URL"),
        (OF_TENANTS + "heartbeats = true\n", "heartbeats are of clouds, and no project's"),
        (OF_TENANTS.replace("t.", "t" * 214), "a topic's name has at most 249 characters"),
        (OF_TENANTS.replace("t.", "{project_id}."), "url must look like kafka://host:port/topic"),
        (OF_TENANTS + "[filter]\noutput = 'own'\n", "filter.output: own has a topic for each"),
        (
            "[self_service]\nper_project = 1\n",
            "per_project needs an output with a topic for each project, such as kafka://host",
        ),
        ("[gateway]\noutput = 'x'\n", "gateway.output: there is no output 'x' on Kafka"),
        ("[web]\ncanonical_url = 'host:1'\n", "canonical_url must begin with http:// or https://"),
        ("[kafka]\npassword_file = '/dev/null'\n", "the secret file /dev/null is empty"),
        ("[kafka]\npassword = ['secret']\n", "Expected `str`, got `list` - at `$.kafka.password`"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_key(
    tmp_path: Path, text: str, complaint: str
) -> None:
    told = refusal(tmp_path, text)
    assert complaint in told
    assert "\n" not in told
    assert "secret" not in told.replace("secret file", "")


def test_a_secret_of_samples_that_nobody_listens_for_is_refused(tmp_path: Path) -> None:
    text = CLOUD + "[vims.samples]\npushed = true\ntelemetry_secret = 'mine'\n"
    told = refusal(tmp_path, text)
    assert "samples: telemetry_secret has no effect without [vims.samples.rabbit] or" in told
    assert "mine" not in told


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("VIMFED_KAFKA__BOOTSTAP", "did you mean kafka.bootstrap?"),
        ("VIMFED_KAFAK__BOOTSTRAP", "did you mean kafka?"),
        ("VIMFED_VIMS__CLOUDOWNER_REGIONONE__URL", "no such key of [[vims]]: url"),
        ("VIMFED_VIMS__CLOUDOWNER_REGIONONE__RABBIT", "no such key of [[vims]]: rabbit"),
        ("VIMFED_VIMS__CLOUDOWNER_REGIONONE__RABBIT__URL", "no such key of [[vims]]: rabbit.url"),
        ("VIMFED_VIMS__CLOUDOWNER_REGIONONE__POLL_INTERVAL", "is now interval in [vims.poll]"),
        (
            "VIMFED_VIMS__CLOUDOWNER_REGIONONE__TRANSPORT_URL",
            "transport_url is now transport_urls in [vims.rabbit] or bootstrap, username, password",
        ),
        ("VIMFED_VIMS__OTHER_CLOUD__RABBIT__POOL", "no cloud in [[vims]] has that vim_id"),
    ],
)
def test_a_variable_that_names_nothing_is_refused(
    tmp_path: Path, name: str, complaint: str
) -> None:
    told = refusal(tmp_path, CLOUD, **{name: "x"})
    assert told.startswith(f"environment variable {name}: ")
    assert complaint in told


@pytest.mark.parametrize(
    ("text", "name", "complaint"),
    [
        ("kafka = 3\n", "VIMFED_KAFKA__BOOTSTRAP", "Expected `object`, got `int` - at `$.kafka`"),
        ("vims = 3\n", "VIMFED_VIMS__A_B__POOL", "no cloud in [[vims]] has that vim_id"),
        ("[vims]\nrabbit.pool = 'x'\n", "VIMFED_VIMS__A_B__POOL", "no cloud in [[vims]]"),
        ("dmaap = 3\n", "VIMFED_DMAAP__OUTPUTS__A__PASSWORD", "no output has that name"),
        ("", "VIMFED_KAFKA__PARTITIONS", "vimfed.toml and environment: Expected `int`, got `str`"),
    ],
)
def test_a_variable_does_not_hide_what_is_wrong_with_the_file(
    tmp_path: Path, text: str, name: str, complaint: str
) -> None:
    assert complaint in refusal(tmp_path, text, **{name: "x"})


def test_a_secret_of_the_environment_goes_before_a_file_that_the_file_names(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from the file\n")
    named = f'password_file = "{tmp_path}/password"\n'
    text = f"[kafka]\n{named}{OUTPUT}{named}"
    environ = {"VIMFED_KAFKA__PASSWORD": "one", "VIMFED_DMAAP__OUTPUTS__ONAP__PASSWORD": "two"}
    settings = load(tmp_path, text, **environ)
    assert (settings.kafka.password, settings.dmaap.outputs[0].password) == (
        Secret("one"),
        Secret("two"),
    )
    variable = {"VIMFED_KAFKA__PASSWORD_FILE": f"{tmp_path}/password"}
    assert load(tmp_path, text, **environ, **variable).kafka.password.reveal() == "from the file"


def test_a_gateway_users_password_comes_by_environment(tmp_path: Path) -> None:
    text = '[[gateway.users]]\nname = "policy"\n'
    settings = load(tmp_path, text, VIMFED_GATEWAY__USERS__POLICY__PASSWORD="one")
    assert settings.gateway.users[0].password.reveal() == "one"


def test_the_environment_makes_a_user_that_the_file_does_not_have(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from the file\n")
    settings = load(
        tmp_path,
        '[[web.auth.users]]\nname = "one"\ntoken = "0123456789abcdef"\n',
        VIMFED_WEB__AUTH__PEER_SECRET="0123456789abcdef",
        VIMFED_WEB__AUTH__USERS__THE_OPERATOR__ROLE="admin",
        VIMFED_WEB__AUTH__USERS__THE_OPERATOR__PASSWORD_FILE=f"{tmp_path}/password",
        VIMFED_GATEWAY__USERS__OPERATOR__PASSWORD="two",
        VIMFED_GATEWAY__USERS__OPERATOR__PUBLISH="a.* b.*",
    )
    _, user = settings.web.auth.users
    assert (user.name, user.role) == ("the_operator", "admin")
    assert user.password.reveal() == "from the file"
    (gateway_user,) = settings.gateway.users
    assert (gateway_user.name, gateway_user.publish) == ("operator", ["a.*", "b.*"])


@pytest.mark.parametrize(
    ("text", "variable", "complaint"),
    [
        ("", "WEB__AUTH__USERS__ONE__PASWORD", "no such key of [[web.auth.users]]: pasword"),
        ("", "WEB__AUTH__USERS__PASSWORD", "no such key of [[web.auth.users]]: password"),
        ("web = 3\n", "WEB__AUTH__USERS__ONE__PASSWORD", "Expected `object`, got `int`"),
        ("[gateway]\nusers = 3\n", "GATEWAY__USERS__ONE__PASSWORD", "Expected `array`, got `int`"),
    ],
)
def test_a_variable_that_makes_no_user_is_refused(
    tmp_path: Path, text: str, variable: str, complaint: str
) -> None:
    assert complaint in refusal(tmp_path, text, **{f"VIMFED_{variable}": "x"})


@pytest.mark.parametrize(("section", "port"), [("web", 6066), ("gateway", 3904)])
def test_probes_are_on_the_apis_port_or_on_another_one(
    tmp_path: Path, section: str, port: int
) -> None:
    told = refusal(tmp_path, f"[{section}]\nmonitoring_port = {port}\n")
    assert f"{section}: port and monitoring_port are both {port}" in told
    assert getattr(load(tmp_path, ""), section).monitoring_port == 0


def secret_fields(section: type[msgspec.Struct]) -> Iterator[tuple[type[msgspec.Struct], str]]:
    """Yield (section, key) of every key that holds a secret, sections resolved."""
    for key, hint in typing.get_type_hints(section).items():
        inner = settings_module.section_type(hint)
        if inner is not None:
            yield from secret_fields(inner)
        elif hint in (Secret, tuple[Secret, ...]):
            yield section, key


SECRET_FIELDS = list(secret_fields(Settings))


def test_a_secret_that_cannot_sign_a_webhook_is_refused_and_not_repeated(tmp_path: Path) -> None:
    told = refusal(tmp_path, WEBHOOK + 'secret = "abcdef"\n')
    assert "webhook.secret must be whsec_ and the base64 of 24 to 64 random bytes" in told
    assert "abcdef" not in told
    told = refusal(tmp_path, WEBHOOK + 'secret_previous = "whsec_"\n')
    assert "webhook.secret_previous needs webhook.secret, the present one" in told


def test_every_key_that_a_file_can_hold_is_a_secret() -> None:
    def files(section: type[msgspec.Struct]) -> Iterator[tuple[type[msgspec.Struct], str]]:
        hints = typing.get_type_hints(section)
        for key, hint in hints.items():
            inner = settings_module.section_type(hint)
            if inner is not None:
                yield from files(inner)
            elif key.endswith("_file") and key.removesuffix("_file") in hints:
                yield section, key.removesuffix("_file")

    assert set(files(Settings)) == set(SECRET_FIELDS)
    assert len(SECRET_FIELDS) == 20


@pytest.mark.parametrize(("section", "key"), SECRET_FIELDS)
def test_no_secret_is_shown_by_accident(
    section: type[msgspec.Struct], key: str, caplog: pytest.LogCaptureFixture
) -> None:
    needed = {field.name: "x" for field in msgspec.structs.fields(section) if field.required}
    secret = Secret("t0psecret")
    is_list = typing.get_type_hints(section)[key] is not Secret
    holder = section(**needed, **{key: (secret,) if is_list else secret})
    logging.getLogger(__name__).warning("%s %r", holder, getattr(holder, key))
    value = getattr(holder, key)
    shown = [repr(holder), str(holder), repr(value), str(value), f"{value}", f"{secret:>30}"]
    assert "t0psecret" not in caplog.text + "".join(shown)
    assert secret.reveal() == "t0psecret"


def test_a_secret_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"\xff")
    told = refusal(tmp_path, f'[kafka]\npassword_file = "{tmp_path}/password"\n')
    assert told == f"the secret file {tmp_path}/password is no UTF-8 text"


@pytest.mark.parametrize(
    "hosts", ["a", "a:1,b:2", "a:1, b:2", "[::1]:9092", "::1", "10.0.0.1:9092,k-1.example.org"]
)
def test_hosts_come_in_every_form(tmp_path: Path, hosts: str) -> None:
    assert load(tmp_path, f'[kafka]\nbootstrap = "{hosts}"\n').kafka.bootstrap == hosts
    url = f"rabbit://u:p%2F@{hosts.replace(', ', ',u:p@')}/v"
    text = CLOUD.replace("rabbit://nova:secret@mq/", url)
    assert load(tmp_path, text).vims[0].rabbit.transport_urls == (Secret(url),)


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "vimfed.toml"
    file.write_text('[kafka]\ntopic_prefix = "x"\n', encoding="utf-8-sig")
    assert load_settings(file, {}).kafka.topic_prefix == "x"


def test_a_missing_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no settings file .*name one with --config"):
        load_settings(tmp_path / "none.toml", {})


def test_the_sample_is_the_demos_settings() -> None:
    settings = load_settings(SAMPLE, {})
    assert settings.kafka.local
    assert [vim.vim_id for vim in settings.vims] == ["CloudOwner_RegionOne"]
    assert settings.vims[0].kafka.bootstrap == settings.kafka.bootstrap
    assert settings.web.port == 6066


def options_of(section: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield (path, description, default) of every option, sections resolved."""
    hints, texts = typing.get_type_hints(section, include_extras=True), texts_of(section)
    for field in msgspec.structs.fields(section):
        inner = settings_module.section_type(hints[field.name])
        if inner is not None:
            yield from options_of(inner, f"{path}{field.name}.")
            continue
        made = field.default_factory
        default = field.default if made is msgspec.NODEFAULT else made()
        yield f"{path}{field.name}", texts.get(field.name, ""), default


def sample_options() -> dict[str, tuple[str, bool, str]]:
    """Return path: (comment before it, whether it is commented out, value) of the sample."""
    options = {}
    section, comment = "", ""
    for line in SAMPLE.read_text().splitlines():
        if header := re.fullmatch(r"(?:# )?\[\[?([a-z._]+)\]\]?", line):
            section, comment = header[1] + ".", ""
        elif option := re.fullmatch(r"(# )?([a-z_]+) = (.*)", line):
            options[section + option[2]] = (comment.strip(), option[1] is not None, option[3])
            comment = ""
        elif line.startswith("# "):
            comment += line.removeprefix("#")
        else:
            comment = ""
    return options


def test_the_sample_explains_every_option_and_shows_its_default() -> None:
    shown = sample_options()
    expected = {path: (text, default) for path, text, default in options_of(Settings)}
    assert set(shown) == set(expected)
    for path, (description, default) in expected.items():
        comment, commented_out, value = shown[path]
        assert description, path
        assert comment.startswith(description), path
        if commented_out and default is not msgspec.NODEFAULT:
            wanted = list(default) if isinstance(default, tuple) else default
            wanted = wanted.reveal() if isinstance(wanted, Secret) else wanted
            assert tomllib.loads(f"value = {value}") == {"value": wanted}, path


def test_the_page_of_all_settings_is_up_to_date() -> None:
    page = SAMPLE.parent / "docs" / "configuration.md"
    remedy = f"vimfed settings-reference > {page.relative_to(SAMPLE.parent)}"
    assert page.read_text() == reference(), remedy


def test_a_cloud_that_notifies_is_polled_seldom_unless_told_otherwise() -> None:
    silent = VimSettings(cloud_owner="a", cloud_region_id="b")
    rabbit = RabbitSettings(transport_urls=(Secret("rabbit://host"),))
    notifying = msgspec.structs.replace(silent, rabbit=rabbit)
    assert silent.seconds_between_polls == 30
    assert notifying.seconds_between_polls == 600
    often = msgspec.structs.replace(notifying, poll=PollSettings(interval=5.0))
    assert often.seconds_between_polls == 5


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            "transport_url = 'rabbit://u:secret@mq/'\npool = 'x'\npoll_interval = 5.0\n",
            "transport_url is now transport_urls in [vims.rabbit]; "
            "pool is now pool in [vims.rabbit]; poll_interval is now interval in [vims.poll]",
        ),
        (
            "transport_url = 'kafka://u:secret@mq/'\npool = 'x'\nheartbeat = 5\n",
            "transport_url is now bootstrap, username, password and virtual_host in [vims.kafka]; "
            "pool is now group in [vims.kafka]; "
            "heartbeat has no effect with kafka://, remove it",
        ),
        (
            "transport_url_file = '/x'\nsasl_mechanism = 'PLAIN'\n",
            "transport_url_file is now transport_urls_file in [vims.rabbit] or bootstrap, username "
            "and password_file in [vims.kafka]; "
            "sasl_mechanism is now sasl_mechanism in [vims.kafka]",
        ),
    ],
)
def test_a_file_of_an_earlier_release_is_told_where_its_keys_went(
    tmp_path: Path, lines: str, told: str
) -> None:
    assert refusal(tmp_path, OLD_CLOUD + lines) == (
        f"vims: CloudOwner_RegionOne: {told} (docs/configuration.md, What moved)"
    )


def test_an_outputs_key_of_an_earlier_release_is_told_where_it_went(tmp_path: Path) -> None:
    output = "[[dmaap.outputs]]\nurl = 'kafka://mq:9092/t'\nves_kinds = ['POWER_OFF']\n"
    assert refusal(tmp_path, output) == (
        "output dmaap: ves_kinds is now action_ends in [worker] (docs/configuration.md, What moved)"
    )


def test_every_key_that_moved_is_now_where_it_is_said_to_be() -> None:
    sections = {"rabbit": RabbitSettings, "kafka": CloudKafkaSettings, "poll": PollSettings}
    for old, words in MOVED.items():
        for keys, section in re.findall(r"([a-z_, ]+?) in \[vims\.(\w+)\]", words):
            for key in re.split(r", | and ", keys.removeprefix(" or ")):
                assert key in sections[section].__struct_fields__, old
    assert not set(MOVED) & set(VimSettings.__struct_fields__)


def test_no_variable_of_a_cloud_reaches_another_whose_name_begins_alike(tmp_path: Path) -> None:
    longer = CLOUD.replace("RegionOne", "RegionOne__RABBIT").replace("mq/", "other/")
    name = "VIMFED_VIMS__CLOUDOWNER_REGIONONE__RABBIT__RABBIT__POOL"
    settings = load(tmp_path, CLOUD + longer, **{name: "mine"})
    assert [vim.rabbit.pool for vim in settings.vims] == ["vimfed", "mine"]
