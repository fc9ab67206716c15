"""``vimfed check --offline``: what the settings and their files tell, before there is a Kafka."""

from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from vimfed.cli import main

PROCESSES = ("bridge", "worker", "publisher", "gateway")
NOBODY = """
[kafka]
bootstrap = "kafka.invalid:9092"
[[vims]]
cloud_owner = "Owner"
cloud_region_id = "Region"
[vims.kafka]
bootstrap = "cloud.invalid:9092"
[[dmaap.outputs]]
url = "kafka://dmaap.invalid:9092/topic"
"""


def check(folder: Path, text: str, process: str) -> Result:
    config = folder / "vimfed.toml"
    config.write_text(text)
    options = ["check", "--offline", "--process", process]
    return CliRunner().invoke(main, ["--config", str(config), *options])


@pytest.mark.parametrize("process", PROCESSES)
def test_nobody_is_asked(tmp_path: Path, process: str) -> None:
    done = check(tmp_path, NOBODY, process)
    assert (done.exit_code, done.output) == (0, "")


@pytest.mark.parametrize(
    ("process", "text", "complaint"),
    [
        ("bridge", "[bridge]\nstuck_afer = 90", "did you mean bridge.stuck_after?"),
        ("bridge", "[kafka]\nreplication = 0", "kafka.replication"),
        ("worker", "[web]\nhost = '0.0.0.0'", "add [[web.auth.users]]"),
        ("worker", "[web]\ncert_file = '/none/tls.crt'", "web.cert_file and web.key_file cannot"),
        ("publisher", "[filter]\nkinds = ['NONE']", "filter.kinds"),
        ("gateway", "[gateway]\nhost = '0.0.0.0'", "add [[gateway.users]]"),
        (
            "gateway",
            "[gateway]\nhost = '0.0.0.0'\n[[gateway.users]]\nname = 'u'\npassword = 'p'",
            "users log in over plain HTTP",
        ),
        ("gateway", "[gateway]\ncert_file = '/none/tls.crt'", "gateway.cert_file and"),
    ],
)
def test_what_would_keep_a_process_from_its_work_is_found(
    tmp_path: Path, process: str, text: str, complaint: str
) -> None:
    done = check(tmp_path, text, process)
    assert done.exit_code in (1, 2)
    assert complaint in done.output


def test_a_certificate_is_looked_at_with_its_authority(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("worker").private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / "tls.crt")
    )
    settings = f"[web]\ncert_file = '{tmp_path}/tls.crt'\nca_file = '{tmp_path}/ca.crt'\n"
    missing = check(tmp_path, settings, "worker")
    assert missing.exit_code == 1
    assert missing.output.startswith(f"web: cannot use ca_file {tmp_path}/ca.crt")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    done = check(tmp_path, settings, "worker")
    assert (done.exit_code, done.output) == (0, "web: ok\n")


MEASURED = """
[[vims]]
cloud_owner = "Owner"
cloud_region_id = "Region"
[vims.samples]
pushed = true
[[dmaap.outputs]]
url = "kafka://dmaap.invalid:9092/topic"
[[dmaap.outputs]]
name = "metrics"
carries = "measurements"
url = "kafka://dmaap.invalid:9092/measured"
[filter]
"""


@pytest.mark.parametrize(
    ("filtered", "is_warned"),
    [
        ("clouds = ['Owner_Region']\nmeters = ['cpu_util']", False),
        ("kinds = ['DELETE']", True),
        ("phases = ['end']\noutput = 'metrics'", True),
        ("kinds = ['DELETE']\noutput = 'dmaap'", False),
        ("kinds = ['DELETE']\nenabled = false", False),
    ],
)
def test_a_filter_that_keeps_all_measurements_back_is_warned_of(
    tmp_path: Path, filtered: str, is_warned: bool
) -> None:
    done = check(tmp_path, MEASURED + filtered, "publisher")
    assert done.exit_code == 0
    assert ("output metrics gets none but those that subscriptions ask for" in done.output) is (
        is_warned
    )
    assert check(tmp_path, MEASURED + filtered, "worker").output == ""
