"""The certificate of docs/kubernetes.md is one by which clients and workers know the workers."""

import re
import ssl
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
import yaml

from tests.support.helm_chart import Document, notes, of_kind, pods, rendered
from tests.support.paths import PROJECT
from vimfed.process.tls import server_context, tls_context
from vimfed.settings import Tls, WebSettings

RELEASE = "federation"
(CERTIFICATE, VALUES) = (
    re.search(rf"```yaml\n# {name}.*?\n(.*?)```", text, re.DOTALL)[1]  # type: ignore[index]
    for text in [(PROJECT / "docs" / "kubernetes.md").read_text()]
    for name in ("certificate.yaml", "https-values.yaml")
)


@cache
def documents() -> Any:
    return rendered(VALUES, release=RELEASE)


def environment() -> dict[str, Document]:
    (container,) = dict(pods(documents()))["worker"]["spec"]["containers"]
    return {each["name"]: each for each in container["env"]}


def names_of_certificate() -> list[str]:
    asked = yaml.safe_load(CERTIFICATE)["spec"]
    return [*asked["dnsNames"], *asked["ipAddresses"]]


def handshake(names: list[str], asked: str, folder: Path) -> None:
    """Connect as the workers' client does to a worker that has a certificate with ``names``.

    Raises ssl.SSLCertVerificationError.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    certificate = authority.issue_cert(*names)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "tls.crt"))
    serving = server_context("web", WebSettings(cert_file=str(folder / "tls.crt")))
    assert serving is not None
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = tls_context(Tls(ca_file=str(folder / "ca.crt")))
    client = asking.wrap_bio(to_client, to_server, server_hostname=asked)
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    done = set[ssl.SSLObject]()
    while len(done) < 2:
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass


def test_workers_know_each_other_by_the_documented_certificate(tmp_path: Path) -> None:
    given = environment()
    url = urlsplit(given["VIMFED_WEB__CANONICAL_URL"]["value"])
    assert (url.scheme, url.port) == ("https", 6066)
    source = given["POD_NAME"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert source == "metadata.name"
    names = list(given)
    assert names.index("POD_NAME") < names.index("VIMFED_WEB__CANONICAL_URL")
    (worker,) = of_kind("StatefulSet", documents())
    pod = f"{worker['metadata']['name']}-0"
    asked = url.netloc.replace("$(POD_NAME)", pod).removesuffix(":6066")
    service = worker["spec"]["serviceName"]
    assert asked == f"{pod}.{service}.default.svc"
    handshake(names_of_certificate(), asked, tmp_path)


def test_what_was_documented_before_no_openssl_takes(tmp_path: Path) -> None:
    """Why the name of a pod alone is not enough: the star needs two dots behind it."""
    (worker,) = of_kind("StatefulSet", documents())
    service = worker["spec"]["serviceName"]
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake([f"*.{service}"], f"{worker['metadata']['name']}-0.{service}", tmp_path)


def test_clients_and_the_pod_itself_know_the_worker(tmp_path: Path) -> None:
    services = [
        each["metadata"]["name"]
        for each in of_kind("Service", documents())
        if each["spec"].get("clusterIP") != "None"
    ]
    assert len(services) == 2
    for service in services:
        for asked in (service, f"{service}.default", f"{service}.default.svc"):
            handshake(names_of_certificate(), asked, tmp_path)
    handshake(names_of_certificate(), "127.0.0.1", tmp_path)


def test_the_pods_have_what_the_documented_secret_holds() -> None:
    pod = dict(pods(documents()))["worker"]["spec"]
    secret = yaml.safe_load(CERTIFICATE)["spec"]["secretName"]
    assert secret in [
        volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume
    ]


@pytest.mark.parametrize(
    ("values", "scheme"),
    [
        ("", "http"),
        (VALUES, "https"),
        (
            f"worker:\n  {VALUES.partition('secretFiles')[0].replace(chr(10), chr(10) + '  ')}",
            "https",
        ),
    ],
)
def test_what_is_told_after_the_installation_says_how_the_workers_speak(
    values: str, scheme: str, tmp_path: Path
) -> None:
    text = notes(values, tmp_path)
    assert f"{scheme}://r-vim-event-federation.default:6066/VIM_ID/check_vim_status" in text
    assert f"{scheme}://r-vim-event-federation-stale.default:6066/" in text
    assert len(set(re.findall(r"(https?)://r-", text))) == 1
