"""The modules of the core that are compiled where somebody asks for it."""

import tomllib

from tests.support.paths import PROJECT


def compiled_modules() -> list[str]:
    """Return the names of the modules that pyproject.toml lists."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
    return [
        str(path).removeprefix("/").removesuffix(".py").replace("/", ".")
        for path in hook["include"]
    ]
