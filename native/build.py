"""Compiles native/: two static programs and one extension module. Needs a C compiler and nothing else.

    python native/build.py PACKAGE_DIR [--sanitize] [--analyze]

The programs go to PACKAGE_DIR/_bin, the extension to PACKAGE_DIR/linux. Only what is older than its
sources is compiled again. ``--sanitize`` builds the programs with address and undefined-behaviour
sanitizers (dynamically linked: the sanitizers cannot be static); ``--analyze`` runs gcc's static
analyser over the programs and writes nothing.
"""

import glob
import os
import subprocess
import sys
import sysconfig

HERE = os.path.dirname(os.path.abspath(__file__))
CC = os.environ.get("CC", "gcc")
WARNINGS = [
    *("-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes"),
    *("-Wpointer-arith", "-Wvla", "-Wformat=2", "-Wimplicit-fallthrough", "-Wundef", "-Wwrite-strings"),
]
COMMON = [
    "-std=gnu11",
    "-fno-strict-aliasing",
    "-fstack-protector-strong",
    *WARNINGS,
    "-I",
    os.path.join(HERE, "common"),
]
# CPython's own interfaces want strings that are not const, and declare no prototype for the init function.
FOR_PYTHON = ["-Wno-write-strings", "-Wno-missing-prototypes"]
PROGRAM = [*COMMON, "-Os", "-ffunction-sections", "-fdata-sections", "-D_FORTIFY_SOURCE=2"]
# The sandbox's stub has no libc and is found at an address of its own (native/sandbox/stub.c says why).
FREESTANDING = [
    *("-ffreestanding", "-fPIE", "-fno-stack-protector", "-fcf-protection=none", "-U_FORTIFY_SOURCE"),
    *("-nostdlib", "-static", "-no-pie", "-Wl,-Ttext-segment=0x200000000000", "-Wl,-z,max-page-size=4096"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack", "-fno-asynchronous-unwind-tables", "-s"),
]
STATIC = ["-static", "-Wl,--gc-sections", "-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack", "-s"]
SANITIZE = [
    *COMMON,
    "-O1",
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
]

# What each program is made of: the plan executor is shared, so that the monitor starts a container itself.
PROGRAMS = {
    "trimaran-init": ("common/*.c", "init/*.c"),
    "trimaran-monitor": ("common/*.c", "monitor/*.c"),
    "trimaran-stub": ("sandbox/stub.c",),
    "trimaran-agent": ("common/*.c", "agent/*.c"),
}
FREESTANDING_PROGRAMS = {"trimaran-stub"}
EXTENSION = ("ext/*.c",)


def sources(patterns: tuple[str, ...]) -> list[str]:
    return sorted(path for pattern in patterns for path in glob.glob(os.path.join(HERE, pattern)))


def extension_path(package: str) -> str:
    return os.path.join(package, "linux", "_sys" + sysconfig.get_config_var("EXT_SUFFIX"))


def outputs(package: str) -> list[str]:
    return [os.path.join(package, "_bin", name) for name in PROGRAMS] + [extension_path(package)]


def stale(target: str, inputs: list[str]) -> bool:
    headers = glob.glob(os.path.join(HERE, "*", "*.h")) + [os.path.abspath(__file__)]
    try:
        made = os.stat(target).st_mtime_ns
    except FileNotFoundError:
        return True
    return any(os.stat(path).st_mtime_ns >= made for path in [*inputs, *headers])


def run(arguments: list[str]) -> None:
    result = subprocess.run(arguments, check=False)
    if result.returncode:
        sys.exit(
            f"trimaran: the C compiler failed ({' '.join(arguments[:2])} ...); install gcc and libc6-dev"
        )


def compile_to(target: str, inputs: list[str], flags: list[str]) -> None:
    if not inputs or not stale(target, inputs):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    partial = f"{target}.{os.getpid()}"
    run([CC, "-o", partial, *inputs, *flags])
    os.replace(partial, target)


def build(package: str, sanitize: bool = False) -> None:
    for name, patterns in PROGRAMS.items():
        if name in FREESTANDING_PROGRAMS:
            flags = [*PROGRAM, *FREESTANDING]
        else:
            flags = SANITIZE if sanitize else [*PROGRAM, *STATIC]
        compile_to(os.path.join(package, "_bin", name), sources(patterns), flags)
    if not sanitize:
        include = sysconfig.get_paths()["include"]
        flags = [*COMMON, *FOR_PYTHON, "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-I", include, "-s"]
        compile_to(extension_path(package), sources(EXTENSION), flags)


def analyze() -> None:
    for patterns in PROGRAMS.values():
        for path in sources(patterns):
            run([CC, "-c", "-o", os.devnull, path, *PROGRAM, "-O2", "-fanalyzer"])


if __name__ == "__main__":
    if "--analyze" in sys.argv:
        analyze()
    else:
        build(sys.argv[1], sanitize="--sanitize" in sys.argv)
