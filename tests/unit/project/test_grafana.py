"""The Grafana dashboard as a file; tests/e2e/test_operations.py looks at its queries."""

import json
from pathlib import Path
from typing import Any

from tests.support.paths import PROJECT
from tests.support.promtool import promtool

DASHBOARD: dict[str, Any] = json.loads(
    (PROJECT / "deploy" / "grafana" / "vim-event-federation.json").read_text()
)


def test_no_panel_overlaps_another_and_each_asks_the_chosen_data_source() -> None:
    panels = DASHBOARD["panels"]
    assert DASHBOARD["uid"]
    assert DASHBOARD["schemaVersion"] >= 39
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, f"{panel['title']} overlaps another panel"
        taken |= cells
        assert at["x"] + at["w"] <= 24
        if panel["type"] != "row":
            assert panel["targets"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_every_query_is_one_that_prometheus_understands(tmp_path: Path) -> None:
    """As recording rules, since promtool checks those."""
    queries = [
        target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
    ]
    rules = [
        {"record": f"query_{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))
