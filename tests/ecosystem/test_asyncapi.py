"""The AsyncAPI document before AsyncAPI's own parser.

It is the validator of ``@asyncapi/cli``, which has a code generator, a server and a studio beside
it: more than a thousand packages.
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.ecosystem.needs import node_modules
from tests.support.every_output import EVERY_OUTPUT
from tests.support.paths import PROJECT

VALIDATE = PROJECT / "tests" / "ecosystem" / "asyncapi" / "validate.cjs"
HINT = 2
"""Severity of what is no error and no warning, such as that there is a newer AsyncAPI."""


def test_asyncapis_own_parser_has_nothing_against_the_document(tmp_path: Path) -> None:
    (tmp_path / "vimfed.toml").write_text(EVERY_OUTPUT)
    vimfed = Path(sys.executable).with_name("vimfed")
    made = subprocess.run(
        [vimfed, "asyncapi"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    read = subprocess.run(
        ["node", VALIDATE],
        cwd=node_modules("asyncapi"),
        input=made.stdout,
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(read.stdout)
    assert [each for each in told["findings"] if each["severity"] < HINT] == []
    document = json.loads(made.stdout)
    assert told["channels"] == [channel["address"] for channel in document["channels"].values()]
    assert {"VmEvent", "DeadLetter", "payload", "ves-5", "measurement-ves"} <= set(told["messages"])
