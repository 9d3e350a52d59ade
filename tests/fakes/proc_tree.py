"""A made-up /proc and /sys: programs with open graphics cards, as the kernel shows them."""

from __future__ import annotations

import shutil
from pathlib import Path

AMD, INTEL, ARC = "0000:03:00.0", "0000:00:02.0", "0000:04:00.0"
FIRST_NAMESPACE = "pid:[4026531836]"


def amdgpu(number: int, gfx_ns: int, compute_ns: int = 0, *, slot: str = AMD) -> str:
    return (
        "pos:\t0\nflags:\t02100002\nmnt_id:\t26\nino:\t1024\n"
        f"drm-driver:\tamdgpu\ndrm-client-id:\t{number}\ndrm-pdev:\t{slot}\npasid:\t32770\n"
        "drm-memory-vram:\t310488 KiB\ndrm-memory-gtt: \t34880 KiB\namd-requested-vram:\t310488 KiB\n"
        f"drm-engine-gfx:\t{gfx_ns} ns\ndrm-engine-compute:\t{compute_ns} ns\ndrm-engine-dec:\t900000000000 ns\n"
    )


def i915(number: int, render_ns: int, *, slot: str = INTEL) -> str:
    return (
        f"pos:\t0\nflags:\t02100002\ndrm-driver:\ti915\ndrm-client-id:\t{number}\ndrm-pdev:\t{slot}\n"
        f"drm-total-system0:\t6044 KiB\ndrm-engine-render:\t{render_ns} ns\ndrm-engine-copy:\t0 ns\n"
        "drm-engine-video:\t800000000000 ns\ndrm-engine-capacity-video:\t2\n"
    )


def xe(number: int, rcs: int, ccs: int, total: int, *, slot: str = ARC) -> str:
    return (
        f"drm-driver:\txe\ndrm-client-id:\t{number}\ndrm-pdev:\t{slot}\ndrm-total-vram0:\t23992 KiB\n"
        f"drm-cycles-rcs:\t{rcs}\ndrm-total-cycles-rcs:\t{total}\ndrm-cycles-ccs:\t{ccs}\n"
        f"drm-total-cycles-ccs:\t{total}\ndrm-engine-capacity-ccs:\t4\n"
    )


class ProcTree:
    """`proc` and `sys` are the folders to read. Without anything else there is one program, the system's first."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.sys = folder / "proc", folder / "sys"
        (self.proc / "self/ns").mkdir(parents=True)
        self.use_namespace(FIRST_NAMESPACE)
        (self.sys / "class/drm").mkdir(parents=True)
        self.owners: dict[str, int] = {}
        self.add_program(1, "systemd")

    def use_namespace(self, name: str) -> None:
        link = self.proc / "self/ns/pid"
        link.unlink(missing_ok=True)
        link.symlink_to(name)

    def add_card(self, number: int, driver: str, slot: str) -> None:
        device = self.sys / "devices" / slot
        (self.sys / "bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
        device.mkdir(parents=True)
        (device / "driver").symlink_to(self.sys / "bus/pci/drivers" / driver)
        for node in (f"card{number}", f"renderD{128 + number}", f"card{number}-DP-1"):
            (self.sys / "class/drm" / node).mkdir()
        (self.sys / f"class/drm/card{number}/device").symlink_to(device)

    def add_program(self, pid: int, name: str, *, command: str = "") -> None:
        folder = self.proc / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "fdinfo").mkdir()
        (folder / "comm").write_text(name + "\n")
        (folder / "cmdline").write_text((command or name) + "\0--flag\0")
        self.open_file(pid, 0, "/dev/null", "pos:\t0\n")

    def open_file(self, pid: int, number: int, target: str, text: str) -> None:
        link = self.proc / str(pid) / "fd" / str(number)
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        self.show(pid, number, text)

    def open_card(self, pid: int, number: int, text: str) -> None:
        self.open_file(pid, number, "/dev/dri/renderD128", text)

    def show(self, pid: int, number: int, text: str) -> None:
        """What the driver tells of an open file from now on."""
        (self.proc / str(pid) / "fdinfo" / str(number)).write_text(text)

    def close_file(self, pid: int, number: int) -> None:
        (self.proc / str(pid) / "fd" / str(number)).unlink()
        (self.proc / str(pid) / "fdinfo" / str(number)).unlink()

    def end(self, pid: int) -> None:
        shutil.rmtree(self.proc / str(pid))

    def lock(self, pid: int, owner: int) -> None:
        """Another user's program: its files can't be listed."""
        folder = self.proc / str(pid)
        shutil.rmtree(folder / "fd")
        (folder / "fd").write_text("not to be listed")
        self.owners[str(folder)] = owner

    def compute(self, pid: int) -> None:
        """The program has AMD's compute driver open."""
        (self.sys / "class/kfd/kfd/proc" / str(pid)).mkdir(parents=True)

    def owner_of(self, path: str) -> int:
        if not Path(path).exists():
            raise FileNotFoundError(path)
        return self.owners.get(path, 0)
