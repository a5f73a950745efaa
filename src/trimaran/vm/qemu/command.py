"""The command line of QEMU's microvm machine, as a pure function. qemu(1), docs/system/i386/microvm.rst."""

from __future__ import annotations

from trimaran.vm.machine import DISK_SLOTS, MachineSpec

# Descriptors that QEMU inherits beside the standard ones; its standard output is the guest's console.
AGENT_FD, SHARE_FD, QMP_FD, TAP_FD, STATE_FD = 3, 4, 5, 6, 7

# What every guest is told. A panic or reboot ends the machine. cryptomgr's self-tests take 0.2 s emulated.
KERNEL_OPTIONS = "console=ttyS0 quiet panic=-1 reboot=t cryptomgr.notests random.trust_cpu=on"


def arguments(
    program: str,
    spec: MachineSpec,
    *,
    accelerator: str,
    tsc_khz: int = 0,
    memory_file: str | None = None,
    memory_shared: bool = False,
    template: bool = False,
    incoming: str | None = None,
) -> list[str]:
    """QEMU's argument vector for SPEC.

    MEMORY_FILE backs the guest's memory, MEMORY_SHARED writes through to it. TEMPLATE gives the machine
    every disk slot and a network interface, as a machine that is saved or made from a saved one has.
    """
    machine = "microvm,acpi=on,pit=off,pic=off,rtc=on,isa-serial=on,x-option-roms=off"
    memory = f"{spec.memory >> 20}M"
    command = [program, "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"]
    command += ["-accel", accelerator, "-cpu", "host" if accelerator.startswith("kvm") else "max"]
    command += ["-smp", str(spec.cpus), "-m", memory]
    if memory_file:
        share = "on" if memory_shared else "off"
        command += [
            "-object",
            f"memory-backend-file,id=ram,size={memory},mem-path={memory_file},share={share}",
        ]
        machine += ",memory-backend=ram"
    command += ["-M", machine, "-kernel", spec.kernel, "-initrd", spec.initramfs]
    command += ["-append", kernel_command_line(spec, tsc_khz)]
    command += _channels()
    command += _disks(spec, template) + _network(spec, template)
    command += ["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-device,rng=rng"]
    command += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    if incoming:
        command += ["-incoming", incoming]
    return command


def kernel_command_line(spec: MachineSpec, tsc_khz: int) -> str:
    """What the kernel is told. The TSC's frequency, since calibrating it under emulation can hang."""
    words = [KERNEL_OPTIONS]
    if tsc_khz:
        words.append(f"tsc_early_khz={tsc_khz}")
    if spec.command_line:
        words.append(spec.command_line)
    return " ".join(words)


def _channels() -> list[str]:
    return [
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        *("-device", "virtio-serial-device,max_ports=3"),
        *("-chardev", f"socket,id=agent,fd={AGENT_FD}"),
        *("-device", "virtserialport,chardev=agent,name=trimaran.agent"),
        *("-chardev", f"socket,id=share,fd={SHARE_FD}"),
        *("-device", "virtserialport,chardev=share,name=trimaran.share"),
        *("-chardev", f"socket,id=qmp,fd={QMP_FD}", "-mon", "chardev=qmp,mode=control"),
    ]


def _disks(spec: MachineSpec, template: bool) -> list[str]:
    """virtio-mmio devices are found in the order of their slots, which is that of the command line."""
    result: list[str] = []
    for index, disk in enumerate(spec.disks):
        options = f"id=disk{index},if=none,format=raw,file={_escaped(disk.path)},cache=writeback"
        # A file that is opened read-only may be shared by any number of machines.
        options += ",readonly=on,file.locking=off" if disk.read_only else ",readonly=off,discard=unmap"
        result += ["-drive", options, "-device", f"virtio-blk-device,drive=disk{index},serial={disk.serial}"]
    for index in range(len(spec.disks), DISK_SLOTS if template else 0):
        result += ["-drive", f"id=disk{index},if=none,format=raw,file.driver=null-co,file.size=512"]
        result += ["-device", f"virtio-blk-device,drive=disk{index}"]
    return result


def _network(spec: MachineSpec, template: bool) -> list[str]:
    if spec.nic:
        netdev, mac = f"tap,id=net,fd={TAP_FD},vhost=off", f",mac={spec.nic.mac}"
    elif template:
        netdev, mac = "hubport,id=net,hubid=0", ""
    else:
        return []
    return ["-netdev", netdev, "-device", f"virtio-net-device,netdev=net{mac}"]


def _escaped(path: str) -> str:
    """A comma ends a value of a QEMU option unless doubled."""
    return path.replace(",", ",,")
