"""Settings: what a file and the environment make of them, and what is refused with which words."""

import logging
import re
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from tests.support.paths import PROJECT
from vimfed import settings as settings_module
from vimfed.cli.settings_reference import reference
from vimfed.settings import Secret, Settings, SettingsError, VimSettings, load_settings

SAMPLE = PROJECT / "vimfed.toml"

CLOUD = """
[[vims]]
cloud_owner = "CloudOwner"
cloud_region_id = "RegionOne"
transport_url = "rabbit://nova:secret@mq/"
"""

OUTPUT = """
[[dmaap.outputs]]
name = "onap"
url = "kafka://a:1/t"
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
        VIMFED_VIMS__CLOUDOWNER_REGIONONE__TRANSPORT_URL="kafka://c:3",
        VIMFED_CONFIG="not a setting",
        PATH="not ours",
    )
    assert (settings.kafka.bootstrap, settings.kafka.partitions) == ("b:2", 4)
    assert settings.kafka.local
    assert settings.web.port == 7000
    assert settings.state_dir == Path("/var/lib/vimfed")
    assert settings.vims[0].transport_url.reveal() == "kafka://c:3"


def test_a_cloud_whose_name_has_other_characters_is_reached_by_environment(tmp_path: Path) -> None:
    text = CLOUD.replace("RegionOne", "region-1.a")
    name = "VIMFED_VIMS__CLOUDOWNER_REGION_1_A__POOL"
    assert load(tmp_path, text, **{name: "mine"}).vims[0].pool == "mine"


def test_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("one\n")
    (tmp_path / "url").write_text("rabbit://nova:two@mq/\n")
    settings = load(
        tmp_path,
        f'[kafka]\npassword_file = "{tmp_path}/password"\n{CLOUD}'
        f'transport_url_file = "{tmp_path}/url"\n',
    )
    assert settings.kafka.password.reveal() == "one"
    assert settings.vims[0].transport_url.reveal() == "rabbit://nova:two@mq/"


def test_an_outputs_password_comes_by_environment_or_from_a_file(tmp_path: Path) -> None:
    name = "VIMFED_DMAAP__OUTPUTS__ONAP__PASSWORD"
    assert load(tmp_path, OUTPUT, **{name: "one"}).dmaap.outputs[0].password.reveal() == "one"
    (tmp_path / "password").write_text("two\n")
    text = f'{OUTPUT}password_file = "{tmp_path}/password"\n'
    assert load(tmp_path, text).dmaap.outputs[0].password.reveal() == "two"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[kafka]\nbootstap = 'x'\n", "unknown key kafka.bootstap: did you mean kafka.bootstrap?"),
        ("[kafak]\n", "unknown key kafak: did you mean kafka?"),
        (CLOUD + "pol = 'x'\n", "unknown key vims.pol: did you mean vims.pool?"),
        ("[kafka\n", "vimfed.toml is not valid TOML: "),
        ("[kafka]\npartitions = 0\n", "Expected `int` >= 1 - at `$.kafka.partitions`"),
        ("[kafka]\nsecurity_protocol = 'TLS'\n", "at `$.kafka.security_protocol`"),
        ("kafka = 3\n", "Expected `object`, got `int` - at `$.kafka`"),
        ("state_dir = 3\n", "at `$.state_dir`"),
        ("[kafka]\npassword_file = '/none'\n", "cannot read the secret file /none: No such file"),
        (CLOUD.replace("CloudOwner", "Cloud_Owner"), "cloud_owner 'Cloud_Owner' contains '_'"),
        (CLOUD.replace("RegionOne", "Region/One"), "'CloudOwner_Region/One' contains '/'"),
        (CLOUD + CLOUD, "CloudOwner_RegionOne stands there twice"),
        (CLOUD.replace("rabbit:", "http:"), "must begin with rabbit:// or kafka://, not http://"),
        (CLOUD.replace('"CloudOwner"', '""'), "at `$.vims[0].cloud_owner`"),
        (OUTPUT + OUTPUT, "dmaap.outputs: onap stands there twice"),
        (OUTPUT.replace("kafka:", "ftp:"), "must begin with kafka://, http:// or https://"),
        (OUTPUT.replace("//a:1", "//me:secret@a:1"), "the url names a user"),
        (
            OUTPUT.replace("kafka://a:1/t", "http://a:1/t"),
            "look like http://host:port/events/topic",
        ),
        ("[filter]\noutput = 'x'\n", "filter.output: there is no output 'x'"),
        (CLOUD + "auth_url = 'keystone:5000'\n", "auth_url must begin with http:// or https://"),
        (CLOUD + "auth_url = 'http://k:5000'\n", "auth_url needs username and project_name, or"),
        (CLOUD + "auth_url = 'http://k:five'\n", "auth_url is no URL"),
        (CLOUD + "auth_url = 'http:///v3'\n", "auth_url names no host"),
        (CLOUD.replace("rabbit:", "rabbitmq:"), "rabbit:// or kafka://, not rabbitmq://"),
        (CLOUD.replace("mq/", "mq:five/"), "transport_url must look like rabbit://user:password@"),
        (CLOUD.replace("nova:secret@mq", ""), "transport_url must look like rabbit://"),
        (CLOUD.replace("nova:secret@", "nova:5/secret@"), "written otherwise: / as %2F"),
        (CLOUD.replace("nova:secret@", "nova:[secret@"), "written otherwise"),
        (CLOUD.replace("rabbit://", "nova:secret@"), "rabbit:// or kafka://, not nova...://"),
        (CLOUD + CLOUD.replace("One", "Two"), "CloudOwner_RegionOne and CloudOwner_RegionTwo have"),
        ("[kafka]\nbootstrap = 'a:b:c'\n", "must look like host:port,host:port, unlike 'a:b:c'"),
        ("[kafka]\nbootstrap = 'a:65536'\n", "must look like host:port,host:port"),
        ("[kafka]\nbootstrap = '[1:2]:9092'\n", "must look like host:port,host:port"),
        ("[kafka]\nbootstrap = 'a:9o92'\n", "must look like host:port,host:port, unlike 'a:9o92'"),
        ("[kafka]\nbootstrap = 'a:1,'\n", "must look like host:port"),
        ("[kafka]\nbootstrap = 'kafka://a:1'\n", "must look like host:port"),
        ("[kafka]\nmin_insync_replicas = 2\n", "is more than replication = 1"),
        (OUTPUT.replace("a:1", "a:one"), "url must look like kafka://host:port/topic"),
        (OUTPUT.replace("a:1", "[a"), "url is no URL"),
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


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("VIMFED_KAFKA__BOOTSTAP", "did you mean kafka.bootstrap?"),
        ("VIMFED_KAFAK__BOOTSTRAP", "did you mean kafka?"),
        ("VIMFED_VIMS__CLOUDOWNER_REGIONONE__URL", "no such key of [[vims]]: url"),
        ("VIMFED_VIMS__OTHER_CLOUD__POOL", "no cloud in [[vims]] has that vim_id"),
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
        ("[vims]\npool = 'x'\n", "VIMFED_VIMS__A_B__POOL", "no cloud in [[vims]]"),
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


def secret_fields(section: type[msgspec.Struct]) -> Iterator[tuple[type[msgspec.Struct], str]]:
    """Yield (section, key) of every key that holds a secret, sections resolved."""
    for key, hint in typing.get_type_hints(section).items():
        inner = settings_module.section_type(hint)
        if inner is not None:
            yield from secret_fields(inner)
        elif hint is Secret:
            yield section, key


SECRET_FIELDS = list(secret_fields(Settings))


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
    assert len(SECRET_FIELDS) == 10


@pytest.mark.parametrize(("section", "key"), SECRET_FIELDS)
def test_no_secret_is_shown_by_accident(
    section: type[msgspec.Struct], key: str, caplog: pytest.LogCaptureFixture
) -> None:
    needed = {field.name: "x" for field in msgspec.structs.fields(section) if field.required}
    holder = section(**needed, **{key: Secret("t0psecret")})
    logging.getLogger(__name__).warning("%s %r", holder, getattr(holder, key))
    value = getattr(holder, key)
    shown = [repr(holder), str(holder), repr(value), str(value), f"{value}", f"{value:>30}"]
    assert "t0psecret" not in caplog.text + "".join(shown)
    assert value.reveal() == "t0psecret"


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
    assert load(tmp_path, text).vims[0].transport_url.reveal() == url


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
    assert settings.vims[0].transport_url.reveal() == f"kafka://{settings.kafka.bootstrap}"
    assert settings.web.port == 6066


def options_of(section: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield (path, description, default) of every option, sections resolved."""
    hints = typing.get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        inner = settings_module.section_type(hints[field.name])
        if inner is not None:
            yield from options_of(inner, f"{path}{field.name}.")
            continue
        assert typing.get_origin(hints[field.name]) is Annotated
        (meta,) = (m for m in typing.get_args(hints[field.name]) if isinstance(m, msgspec.Meta))
        made = field.default_factory
        default = field.default if made is msgspec.NODEFAULT else made()
        yield f"{path}{field.name}", meta.description or "", default


def sample_options() -> dict[str, tuple[str, bool, str]]:
    """Return path: (comment before it, whether it is commented out, value) of the sample."""
    options = {}
    section, comment = "", ""
    for line in SAMPLE.read_text().splitlines():
        if header := re.fullmatch(r"(?:# )?\[\[?([a-z.]+)\]\]?", line):
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
    notifying = msgspec.structs.replace(silent, transport_url=Secret("rabbit://host"))
    assert silent.seconds_between_polls == 30
    assert notifying.seconds_between_polls == 600
    assert msgspec.structs.replace(notifying, poll_interval=5.0).seconds_between_polls == 5
