"""Other people's norms, models, data sets, optimizers, claims and probes: modules that register them when imported.

A plugin is a module that uses the project's own decorators. It is found by entry point (group ``maxmargin.plugins``, in
the ``pyproject.toml`` of an installed distribution), by the environment variable ``MAXMARGIN_PLUGINS`` (modules and
``.py`` files, separated as in ``PATH``), or by ``maxmargin --plugin``, which sets that variable, so that processes
started later load the same plugins.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from maxmargin.models.errors import InputError

VARIABLE, GROUP = "MAXMARGIN_PLUGINS", "maxmargin.plugins"

_loaded: set[str] = set()
_files: dict[Path, ModuleType] = {}


class PluginError(InputError):
    """A plugin that is not found, or that fails when it is imported."""


def add(*plugins: str) -> None:
    """Load plugins, here and in every process started from here.

    Args:
        *plugins: Modules or paths to ``.py`` files.

    Raises:
        PluginError: saying which one failed, why and where.
    """
    named = dict.fromkeys([*_named(), *(str(Path(p).resolve()) if p.endswith(".py") else p for p in plugins)])
    os.environ[VARIABLE] = os.pathsep.join(named)
    load()


def load() -> None:
    """Load the plugins of the environment and of the installed distributions that are not loaded yet.

    Raises:
        PluginError: saying which one failed, why and where.
    """
    installed = [] if GROUP in _loaded else [point.value for point in entry_points(group=GROUP)]
    _loaded.add(GROUP)
    for plugin in (*_named(), *installed):
        if plugin not in _loaded:
            _loaded.add(plugin)  # first: what the plugin imports may ask for plugins
            _import(plugin)


def _named() -> list[str]:
    return [plugin for plugin in os.environ.get(VARIABLE, "").split(os.pathsep) if plugin]


def _import(plugin: str) -> None:
    try:
        if plugin.endswith(".py"):
            _run(Path(plugin))
        else:
            append_to_path(os.getcwd())
            importlib.import_module(plugin)
    except (Exception, SystemExit) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
        at = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if len(frames) > 1 else ""
        raise PluginError(f"plugin {plugin!r} cannot be loaded: {type(error).__name__}: {error}{at}") from error


def _run(path: Path) -> None:
    if not path.is_file():
        raise PluginError(f"there is no file {str(path)!r}; give a module or a .py file that exists")
    _files[path.resolve()] = run_file(path, "plugin")


def append_to_path(folder: str) -> None:
    """Let modules in ``folder`` be imported, after all that is installed: a user's ``models/`` must not shadow it."""
    if folder not in sys.path and not (folder == os.getcwd() and "" in sys.path):
        sys.path.append(folder)


def run_file(path: Path, kind: str) -> ModuleType:
    """Return the module of a user's file, under a name of its own: two files of one name are two modules.

    A file that is a plugin is imported once, whatever else it is used as. What lies beside it may be imported too, as
    late as in an optimizer's step.

    Args:
        path: An existing ``.py`` file.
        kind: What it is, for the module's name.
    """
    where = path.resolve()
    if where in _files:
        return _files[where]
    append_to_path(str(where.parent))
    name = f"_maxmargin_{kind}_{path.stem}_{hashlib.sha256(str(where).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
