"""The Helm chart, rendered by helm itself."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from tests.support.cluster_api import Cluster
from tests.support.paths import PROJECT

CHART = PROJECT / "deploy" / "helm" / "vim-event-federation"
Document = dict[str, Any]


def helm(*arguments: str, stdin: str = "") -> str:
    """Return what helm prints; AssertionError with its words where it fails."""
    own = Path(sys.executable).with_name("helm")
    program = own if own.exists() else shutil.which("helm")
    assert program, "helm is missing: on this machine it must be installed by hand"
    done = subprocess.run(
        [program, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@cache
def rendered(values: str = "", kubernetes: str = "1.27", release: str = "r") -> Sequence[Document]:
    """Return what ``helm template`` makes of values, a YAML text."""
    options = ("--kube-version", f"{kubernetes}.0", "--values", "-")
    text = helm("template", release, str(CHART), *options, stdin=values)
    return [document for document in yaml.safe_load_all(text) if document]


def upgraded(
    values: str, objects: Mapping[tuple[str, str], Mapping[str, Any]], *shown: str
) -> Sequence[Document]:
    """Return what helm makes of values in a cluster that has ``objects``, see Cluster.

    ``shown``: files of templates that are printed alone, such as ``worker.yaml``.
    """
    only = [option for file in shown for option in ("--show-only", f"templates/{file}")]
    with Cluster(objects) as cluster:
        options = ("--kube-apiserver", cluster.url, "--dry-run=server", "--is-upgrade", *only)
        text = helm("template", "r", str(CHART), *options, "--values", "-", stdin=values)
    return [document for document in yaml.safe_load_all(text) if document]


def notes(values: str, folder: Path) -> str:
    """Return what is told after an installation, which no command prints without a cluster.

    ``folder``: an empty one, for a copy of the chart that has the text in a manifest.
    """
    chart = shutil.copytree(CHART, folder / "chart")
    text = (chart / "templates" / "NOTES.txt").read_text()
    (chart / "templates" / "notes.yaml").write_text("told: |\n" + indent(text, "  "))
    shown = ("--show-only", "templates/notes.yaml", "--values", "-")
    told: str = yaml.safe_load(helm("template", "r", str(chart), *shown, stdin=values))["told"]
    return told


def of_kind(kind: str, documents: Sequence[Document]) -> list[Document]:
    """Return the documents of a kind."""
    return [document for document in documents if document["kind"] == kind]


def pods(documents: Sequence[Document]) -> Iterator[tuple[str, Document]]:
    """Yield the component and the pod's template of every workload."""
    for document in documents:
        if document["kind"] in ("Deployment", "StatefulSet"):
            template = document["spec"]["template"]
            yield template["metadata"]["labels"]["app.kubernetes.io/component"], template
