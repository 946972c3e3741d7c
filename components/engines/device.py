"""The device that everything runs on. The only file that names cuda, mps or spaces."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from components.core.types import Machine
from components.engines.memory import return_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    import torch

    from components.core.settings import Hardware

    Function = TypeVar("Function", bound=Callable[..., Any])

LIBRARIES = (
    "torch",
    "transformers",
    "numpy",
    "kernels",
    "flash-attn",
    "ctranslate2",
    "faster-whisper",
    "accelerate",
    "gradio",
)
"""Distributions whose versions can change a figure; those that are installed go into the machine's stamp."""

DRIVER_NODES = ("nvidia*", "nvhost*", "nvmap", "dxg", "kfd")
"""What CUDA and ROCm drivers put into ``/dev`` on Linux: discrete, Jetson's, that of Windows beneath, AMD's."""

CUBLAS_PACKAGE, CUBLAS_VERSION = "nvidia-cublas-cu12", "12.9.1.4"
CUBLAS_LIBRARIES = ("libcublasLt.so.12", "libcublas.so.12")
"""What CTranslate2 4.8 loads on a GPU; the second one needs the first."""

DEFAULT_ATTENTION = "sdpa"
FLASH_ATTENTION = "flash_attention_2"


@dataclass(frozen=True)
class Device:
    """Where models are placed; the same for every lane of a comparison."""

    kind: Literal["cuda", "mps", "cpu"]

    @property
    def hardware(self) -> Hardware:
        """The kind of machine, by which the default pairs are chosen."""
        if self.kind != "cuda":
            return "cpu"
        return "zero-gpu" if zero_gpu() else "gpu"

    @property
    def launches_kernels(self) -> bool:
        """Whether every operation is a kernel that is launched, so that fewer and larger ones are faster."""
        return self.kind == "cuda"

    def synchronize(self) -> None:
        """Wait until every kernel that was launched has ended, so that a clock read after it is true."""
        import torch

        if self.kind == "cuda":
            torch.cuda.synchronize()
        elif self.kind == "mps":
            torch.mps.synchronize()

    def reset_peak_memory(self) -> None:
        import torch

        if self.kind == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def peak_memory_bytes(self) -> int | None:
        """Largest allocation by tensors since the last reset; ``None`` where the device keeps no such figure."""
        import torch

        return torch.cuda.max_memory_allocated() if self.kind == "cuda" else None

    def available_memory_bytes(self) -> int:
        """What a new model may take: free device memory, or main memory within the container's limit."""
        import torch

        if self.kind == "cuda":
            unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
            return torch.cuda.mem_get_info()[0] + unused
        return _available_main_memory_bytes()

    def release_memory(self) -> None:
        """Give cached blocks back, after a model was dropped."""
        import gc

        import torch

        gc.collect()
        return_freed_memory()
        if self.kind == "cuda":
            torch.cuda.empty_cache()
        elif self.kind == "mps":
            torch.mps.empty_cache()

    def graphs_unavailable(self) -> str:
        """Why no CUDA graphs can be captured here; empty where they can."""
        if self.kind != "cuda":
            return "CUDA graphs need a CUDA device"
        if zero_gpu():
            return "on ZeroGPU no graph outlives a request"
        return ""

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Capture what a function launches as a CUDA graph; calling the result launches it again, as one.

        The function is run a few times before, so that every library has set itself up. It may read and write only
        tensors that stay where they are, and may not wait for the device.
        """
        import torch

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                function()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph):
            function()
        return graph.replay

    def load_cublas(self) -> str:
        """Load the version of cuBLAS that CTranslate2 is built for, which PyTorch's CUDA 13 does not bring.

        It comes with a package or the system. CTranslate2 asks for it by its name, and a library that is loaded
        already is found by that, whatever ``LD_LIBRARY_PATH`` says.

        Returns:
            Why it cannot be loaded, for a person; empty where it can, and where it is not needed.
        """
        if self.kind != "cuda" or sys.platform != "linux":
            return ""
        folder = Path()
        with contextlib.suppress(metadata.PackageNotFoundError):
            folder = Path(str(metadata.distribution(CUBLAS_PACKAGE).locate_file("nvidia/cublas/lib")))
        for name in CUBLAS_LIBRARIES:
            try:
                ctypes.CDLL(str(folder / name) if (folder / name).is_file() else name, mode=ctypes.RTLD_GLOBAL)
            except OSError:
                return f"{name} is missing. Install it with `pip install {CUBLAS_PACKAGE}=={CUBLAS_VERSION}`"
        return ""

    @property
    def name(self) -> str:
        """The name that its maker gave it, for the stamp."""
        import torch

        if self.kind == "cuda":
            return torch.cuda.get_device_name()
        return _processor_name()


@functools.cache
def detect() -> Device:
    """The best device of this machine.

    Where no driver is there, PyTorch is not asked: its import takes seconds, and the page can be up before.
    """
    if zero_gpu():
        return Device("cuda")
    if sys.platform == "linux" and not any(any(Path("/dev").glob(node)) for node in DRIVER_NODES):
        return Device("cpu")
    import torch

    if torch.cuda.is_available():
        return Device("cuda")
    if torch.backends.mps.is_available():
        return Device("mps")
    return Device("cpu")


def machine(processes: int = 1) -> Machine:
    """The stamp of every figure: device, versions, threads."""
    import torch

    device = detect()
    return Machine(
        device=device.kind,
        device_name=device.name,
        platform=f"{platform.system()} {platform.machine()}",  # no kernel build: it says nothing and names a machine
        python=platform.python_version(),
        libraries=dict(_installed_versions()),
        threads=torch.get_num_threads(),
        processes=processes,
    )


def resolve_dtype(name: str, device: Device) -> torch.dtype:
    """One dtype for all lanes: float16 on CUDA and float32 elsewhere, unless another is asked for by name.

    ``int8`` is for what reads weights in eight bits, CTranslate2 and our own loop on a CPU; the rest is in the default.
    """
    import torch

    if name in {"auto", "int8"}:
        return torch.float16 if device.kind == "cuda" else torch.float32
    return cast("torch.dtype", getattr(torch, name))


def attention_candidates(name: str, device: Device, dtype: torch.dtype) -> tuple[str, ...]:
    """Attention kernels to try, best first.

    ``auto`` wants flash attention on CUDA, which computes in half precision only; elsewhere it is sdpa at once.
    A kernel that was asked for by name has no substitute.
    """
    if name != "auto":
        return (name,)
    if device.kind == "cuda" and dtype.itemsize == 2:
        return (FLASH_ATTENTION, DEFAULT_ATTENTION)
    return (DEFAULT_ATTENTION,)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the device or in main memory."""
    torch_module = sys.modules.get("torch")
    if torch_module is not None and isinstance(error, torch_module.OutOfMemoryError):
        return True
    if isinstance(error, MemoryError):
        return True
    said = ("can't allocate memory", "out of memory")  # PyTorch's allocator on a CPU; CTranslate2 on CUDA
    return isinstance(error, RuntimeError) and any(words in str(error) for words in said)


def take_own_gpu(environ: MutableMapping[str, str]) -> None:
    """Of several processes that accelerate started on this machine, each sees but one CUDA device.

    A current device belongs to the thread that chose it, and CTranslate2 does not know of it; what is not seen is not
    used by either. To be called before CUDA starts.
    """
    if (rank := environ.get("LOCAL_RANK")) is None:
        return
    import torch

    seen = environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    if seen:
        devices = seen.split(",")
        environ["CUDA_VISIBLE_DEVICES"] = devices[int(rank) % len(devices)].strip()


def zero_gpu() -> bool:
    """Whether this is a ZeroGPU Space, where a GPU is there only inside functions that ``gpu`` decorates.

    The first call imports ``spaces``, which then has PyTorch pretend to a GPU, in the calling thread alone: models are
    placed by the thread that made the first call, before anything else asked for CUDA.
    """
    if not os.environ.get("SPACES_ZERO_GPU"):  # what `spaces` goes by; its import is not for nothing
        return False
    from spaces.config import Config

    return bool(Config.zero_gpu)


def gpu(duration: int | Callable[..., int]) -> Callable[[Function], Function]:
    """Decorate a function that needs the device; on ZeroGPU it borrows a GPU for ``duration`` seconds.

    ``duration`` may be a function of the same arguments. On ZeroGPU the function runs in another process: its
    arguments and its result are pickled, so they hold no device tensor, no lock and no callback. Elsewhere the
    function is returned unchanged.
    """
    if not zero_gpu():
        return lambda function: function
    import spaces

    return cast("Callable[[Function], Function]", spaces.GPU(duration=duration))


@functools.cache
def _installed_versions() -> dict[str, str]:
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return versions


@functools.cache
def _processor_name() -> str:
    """The processor's model name; ``platform`` knows it only on some systems."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _available_main_memory_bytes() -> int:
    """Memory that can be had without swapping, within the control group's limit (containers)."""
    import psutil

    available = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text(), (group / "memory.current").read_text()
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return available
    if limit.strip().isdigit():
        cached = int(statistics.get("inactive_file", 0))  # files read, such as weights: dropped when room is short
        available = min(available, max(0, int(limit) - int(used) + cached))
    return available
