"""From LLVM IR to functions that can be called, by llvmlite; object code is kept on disk.

A file's name is a hash of everything that determines its content: the IR, the processor and the versions. It is
written whole under another name and then renamed, so parallel writers and crashes leave whole files or none.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from maxmargin.verify.engine.native.graph import UnsupportedError
from maxmargin.verify.results.store import write_atomically

FORMAT = b"maxmargin native 1\n"
DGESDD = "maxmargin_dgesdd"
_log = logging.getLogger(__name__)
_lock = threading.Lock()
_numbers = itertools.count()


class Library:
    """Compiled functions: ``library["name"]`` is one's address; they live as long as the library."""

    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker

    def function(self, name: str, arguments: int) -> Any:
        """A function of so many pointers or 64-bit integers, which releases the interpreter's lock when called."""
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)
        found = kind(self._tracker[name])
        found.library = self  # type: ignore[attr-defined]  # ctypes functions take any attribute; it keeps the code alive
        return found


@cache
def _machine() -> tuple[Any, Any, str]:
    """The target machine, the linker of compiled code, and what both depend on in words."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    name, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()

    def machine() -> Any:
        return target.create_target_machine(cpu=name, features=features, opt=2, jit=True, codemodel="jitdefault")

    words = (
        f"{llvm.get_process_triple()} {name} {features} llvmlite {llvmlite.__version__} LLVM {llvm.llvm_version_info}"
    )
    return machine(), llvm.create_lljit_compiler(machine()), words


def load(text: str, exports: Sequence[str], what: str = "") -> Library:
    """Return the functions of a module, from the cache or compiled.

    Args:
        text: LLVM IR.
        exports: The functions that are to be called.
        what: For the log.

    Raises:
        UnsupportedError: when LLVM refuses the text, with its reason.
    """
    with _lock:  # LLVM's global state and the linker are shared by all threads
        _, jit, words = _machine()
        key = hashlib.sha256(FORMAT + words.encode() + text.encode()).hexdigest()[:40]
        folder = _folder()
        path = folder / f"{key}.o" if folder is not None else None
        code = _read(path)
        if code is not None:
            try:
                return _linked(jit, code, exports)
            except RuntimeError as error:  # a file that is whole, and yet no object code
                _log.warning("%s is not usable (%s): compiled anew", path, error)
        began = time.perf_counter()
        code = _compiled(text)
        _log.info("compiled %s in %.2f s", what or "a function", time.perf_counter() - began)
        _write(path, code)
        return _linked(jit, code, exports)


def _compiled(text: str) -> bytes:
    machine = _machine()[0]
    try:
        module = llvm.parse_assembly(text)
    except RuntimeError as error:
        raise UnsupportedError(f"what LLVM refuses ({error})") from error
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False  # vectors are written out already
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return bytes(machine.emit_object(module))


def _linked(jit: Any, code: bytes, exports: Sequence[str]) -> Library:
    builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    for name in exports:
        builder.export_symbol(name)
    if DGESDD.encode() in code:
        builder.import_symbol(DGESDD, _lapack("dgesdd"))
    return Library(builder.link(jit, f"maxmargin{next(_numbers)}"))


@cache
def _lapack(name: str) -> int:
    """The address of a LAPACK routine, from scipy."""
    from scipy.linalg import cython_lapack

    capsule = cython_lapack.__pyx_capi__[name]
    kind = ctypes.pythonapi.PyCapsule_GetName
    kind.restype, kind.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    found: int = pointer(capsule, kind(capsule))
    return found


def _folder() -> Path | None:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "maxmargin" / "native" if os.path.isabs(base) else None


def _read(path: Path | None) -> bytes | None:
    """What was written there, or None where nothing whole is."""
    if path is None:
        return None
    try:
        found = path.read_bytes()
    except OSError:
        return None
    head, code = found[:32], found[32:]
    return code if hashlib.sha256(code).digest() == head else None


def _write(path: Path | None, code: bytes) -> None:
    if path is None:
        return
    try:
        write_atomically(path, hashlib.sha256(code).digest() + code)
    except OSError as error:  # a read-only or full disk: the next run compiles again
        _log.info("object code is not kept: %s", error)
