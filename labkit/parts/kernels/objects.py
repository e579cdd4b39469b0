"""Machine code of kernels, kept as object files: read back in milliseconds, without numba.

numba's own cache spares compiling, but not importing numba, which takes half a second of a first call. An object file
needs LLVM only to be linked. It is kept with its checksum, and is used on Linux, where a symbol can be looked up before
code is linked that needs it. Code for handling errors is never reached, since kernels raise none; the functions of numba
that it names are stood in for by one that ends the process.
"""

import ctypes
import hashlib
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

USED = sys.platform == "linux"
ERRORS = ("numba_", "NRT_", "Py", "_Py")
_linked: list[Any] = []
"""What holds the code in memory: as long as the process lives."""


def processor() -> str:
    """What machine code depends on, besides its source."""
    import llvmlite
    from llvmlite import binding

    return " ".join([llvmlite.__version__, binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()])


def kept(path: Path) -> int:
    """The address of the kernel in an object file, or 0 where there is none that can be trusted."""
    if not USED:
        return 0
    try:
        head, data = path.read_bytes().split(b"\n", 1)
        said = json.loads(head)
        if hashlib.sha256(data).hexdigest() != said["checksum"]:
            return 0
    except (OSError, ValueError, KeyError):
        return 0
    return _link(data, said["name"], said["needs"])


def keep(path: Path, compiled: Any) -> None:
    """Write a kernel that numba has just compiled; nothing is kept where something stands against it."""
    if not USED or compiled.cache_hits:  # of what comes out of numba's cache it does not say what it needs
        return
    from llvmlite import binding

    with suppress(OSError, RuntimeError):
        module = binding.parse_assembly(compiled.inspect_llvm())
        declared = (one.name for one in module.functions if one.is_declaration and not one.name.startswith("llvm."))
        needs = sorted(declared)
        if not all(name.startswith(ERRORS) or _known(name) for name in needs):
            return
        data = _made_already(compiled) or _machine(binding).emit_object(module)
        head = {"name": compiled.native_name, "needs": needs, "checksum": hashlib.sha256(data).hexdigest()}
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(json.dumps(head).encode() + b"\n" + data)
        os.replace(part, path)


def _made_already(compiled: Any) -> bytes:
    """The object that numba has made of this kernel: to make it again takes as long as the first time."""
    with suppress(AttributeError, RuntimeError):
        return bytes(compiled._library._get_compiled_object())
    return b""


def _link(data: bytes, name: str, needs: list[str]) -> int:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    never = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
    for one in needs:
        if one.startswith(ERRORS):
            if binding.address_of_symbol(one) is None:
                binding.add_symbol(one, never)
        elif not _known(one):
            return 0
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _machine(binding))
    engine.add_object_file(binding.ObjectFileRef.from_data(data))
    engine.finalize_object()
    _linked.append(engine)
    return engine.get_function_address(name)


def _machine(binding: Any) -> Any:
    target = binding.Target.from_default_triple()
    features = binding.get_host_cpu_features().flatten()
    return target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=3, jit=True)


def _known(name: str) -> bool:
    """Whether the process has a function of this name, such as one of the mathematical library."""
    return hasattr(ctypes.CDLL(None), name)
