"""Runs docker-compose.yml in this machine's Docker engine; ``--if-possible`` where that can be.

Exit code 2 where something is missing: one line says what, and how to mend it. With
``--if-possible`` that is no failure.
"""

import os
import re
import subprocess
import sys

import pytest
import yaml

from tests.support.paths import PROJECT

ANSWER_TIMEOUT = 15.0
"""Seconds within which an engine has to answer."""
PULL_TIMEOUTS = {False: 900.0, True: 60.0}
"""Seconds to pull an image; the second where nobody waits for it (``--if-possible``)."""


class MissingError(Exception):
    """What is needed is not here; the text says what, and how to mend it."""


def said_by(*command: str, timeout: float, cure: str) -> str:
    """Return what a command prints. Raises MissingError with the cure where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError:
        raise MissingError(f"there is no command {command[0]}: {cure}") from None
    except subprocess.TimeoutExpired:
        raise MissingError(f"{' '.join(command)}: no answer in {timeout:.0f} s: {cure}") from None
    if done.returncode:
        (*_, why) = ["", *done.stderr.strip().splitlines()]
        raise MissingError(f"{' '.join(command)}: {why}: {cure}")
    return done.stdout


def base_images() -> list[str]:
    """Return the images that come from a registry: those of brokers, proxy and Python."""
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"].values()
    started = {each["image"] for each in services if "profiles" not in each}
    built_on = re.findall(r"(?m)^FROM (\S+)", (PROJECT / "deploy" / "Dockerfile").read_text())
    return sorted({image for image in started if "$" not in image} | set(built_on))


def check_needs(*, is_optional: bool) -> None:
    """Raise MissingError unless an engine answers and has, or can pull, the base images."""
    install = "install Docker Engine 20.10 or newer, with Compose 2.20 or newer"
    start = (
        "start it (dockerd), and be root or a member of the group docker; DOCKER_HOST names another"
    )
    said_by("docker", "--version", timeout=ANSWER_TIMEOUT, cure=install)
    told = said_by(
        "docker", "compose", "version", "--short", timeout=ANSWER_TIMEOUT, cure=install
    ).strip()
    version = tuple(int(number) for number in re.findall(r"\d+", told)[:2])
    if version < (2, 20):
        raise MissingError(f"Compose {told} is too old: {install}")
    said_by(
        "docker", "version", "--format", "{{.Server.Version}}", timeout=ANSWER_TIMEOUT, cure=start
    )
    here = said_by(
        "docker",
        "images",
        "--format",
        "{{.Repository}}:{{.Tag}}",
        timeout=ANSWER_TIMEOUT,
        cure=start,
    ).split()
    for image in base_images():
        if image not in here:
            said_by(
                "docker",
                "pull",
                "--quiet",
                image,
                timeout=PULL_TIMEOUTS[is_optional],
                cure="registry-mirrors of the engine name another source; docker load takes a file",
            )


def main(arguments: list[str]) -> int:
    """Run the tests if all is here; return the exit code."""
    is_optional = "--if-possible" in arguments
    try:
        check_needs(is_optional=is_optional)
    except MissingError as error:
        print(f"make containers: {'left out: ' if is_optional else ''}{error}")
        return 0 if is_optional else 2
    os.environ.setdefault("DOCKER_BUILDKIT", "1")
    folder = str(PROJECT / "tests" / "containers")
    rest = [each for each in arguments if each != "--if-possible"]
    return int(pytest.main(["-x", "-rP", "-p", "no:cacheprovider", "--durations=0", folder, *rest]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
