"""The alert rules: promtool's own checks, and a place in the troubleshooting guide for each."""

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.support.paths import PROJECT
from tests.support.promtool import promtool

PROMETHEUS = PROJECT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
GUIDE = (PROJECT / "docs" / "troubleshooting.md").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "alerts.yml"),
        ("check", "config", "prometheus.yml"),
        ("check", "config", "containers.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_accepts(arguments: tuple[str, ...]) -> None:
    promtool(*arguments)


def test_alertmanager_accepts_the_example() -> None:
    amtool = shutil.which("amtool")
    assert amtool, "amtool is missing: apt-get install prometheus-alertmanager (make test does so)"
    done = subprocess.run(
        [amtool, "check-config", str(PROMETHEUS / "alertmanager.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_to_fire_and_to_keep_still() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    tried = [case for test in tests for case in test["alert_rule_test"]]
    for rule in RULES:
        outcomes = {
            bool(case["exp_alerts"]) for case in tried if case["alertname"] == rule["alert"]
        }
        assert outcomes == {True, False}, rule["alert"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_how_bad_it_is_and_where_the_guide_tells_what_to_do(
    rule: dict[str, Any],
) -> None:
    name = rule["alert"]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["runbook"] == f"docs/troubleshooting.md#{name.lower()}"
    section = re.search(rf"^### {name}\n(.+?)(?=^##|\Z)", GUIDE, re.MULTILINE | re.DOTALL)
    assert section, f"docs/troubleshooting.md has no section {name}"
    assert len(section[1].split()) > 20


def test_the_guide_tells_of_no_alert_that_is_not_there() -> None:
    told = re.findall(r"^### (Vimfed\w+)$", GUIDE, re.MULTILINE)
    assert sorted(told) == sorted(rule["alert"] for rule in RULES)
