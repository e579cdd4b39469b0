"""Machine code of kernels, kept as object files: read back in milliseconds, without numba.

numba's own cache spares compiling, but not importing numba, which takes half a second of a first call. An object file
needs LLVM only to be linked. It is kept with its checksum, and is used on Linux, where the system's functions can be looked
up before code is linked that needs them.

numba adds code for errors to every function, though kernels raise none. What it calls lies in numba, which is not there: in
the object file those names are changed to that of the function that ends the process. They must not be given to LLVM
instead: it would hand them to numba as well, when that is loaded later.
"""

import ctypes
import hashlib
import json
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

USED = sys.platform == "linux"
ERRORS = ("numba_", "NRT_", "Py", "_Py")
NEVER = b"abort\0"
_SYMBOL, _SECTION = struct.Struct("<IBBHQQ"), struct.Struct("<IIQQQQIIQQ")
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
    return _link(data, said["name"]) if all(map(_known, said["needs"])) else 0


def keep(path: Path, compiled: Any) -> None:
    """Write a kernel that numba has just compiled; nothing is kept where something stands against it."""
    if not USED:
        return
    with suppress(OSError, RuntimeError, ValueError, AttributeError, struct.error):  # such as: it was in numba's cache
        found = without_errors(bytes(compiled._library._get_compiled_object()))
        if found is None or not all(map(_known, found[1])):
            return
        data, needs = found
        head = {"name": compiled.native_name, "needs": needs, "checksum": hashlib.sha256(data).hexdigest()}
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(json.dumps(head).encode() + b"\n" + data)
        os.replace(part, path)


def without_errors(data: bytes) -> tuple[bytes, list[str]] | None:
    """An object file (ELF, 64 bits) in which numba's names are changed, and the names that it still needs.

    None where it is another kind of file, or no name can be changed without changing another.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        return None
    (start,), (size, count) = struct.unpack_from("<Q", data, 0x28), struct.unpack_from("<HH", data, 0x3A)
    sections = [_SECTION.unpack_from(data, start + size * place) for place in range(count)]
    table = next((one for one in sections if one[1] == 2), None)
    if table is None:
        return None
    names, places = sections[table[6]][4], range(table[4], table[4] + table[5], _SYMBOL.size)
    symbols = [(at, *_SYMBOL.unpack_from(data, at)) for at in places]
    known = {at: data[names + name : data.index(b"\0", names + name)].decode() for at, name, *_ in symbols if name}
    missing = {at: known[at] for at, name, _, _, section, *_ in symbols if name and section == 0}
    errors = {at: name for at, name in missing.items() if name.startswith(ERRORS)}
    changed = bytearray(data)
    if errors:
        offsets = {at: name for at, name, *_ in symbols if at in known}
        kept_names = [(offsets[at], offsets[at] + len(name)) for at, name in known.items() if at not in errors]
        free = [
            offsets[at]
            for at, name in errors.items()
            if len(name) >= len(NEVER)
            and not any(a < offsets[at] + len(NEVER) and b >= offsets[at] for a, b in kept_names)
        ]
        if not free:
            return None
        changed[names + free[0] : names + free[0] + len(NEVER)] = NEVER
        for at in errors:
            struct.pack_into("<I", changed, at, free[0])
    return bytes(changed), sorted({*missing.values()} - {*errors.values()} | {NEVER[:-1].decode()})


def _link(data: bytes, name: str) -> int:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    features = binding.get_host_cpu_features().flatten()
    machine = target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=3, jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(data))
    engine.finalize_object()
    _linked.append(engine)
    return engine.get_function_address(name)


def _known(name: str) -> bool:
    """Whether the process has a function of this name, such as one of the mathematical library."""
    return hasattr(ctypes.CDLL(None), name)
