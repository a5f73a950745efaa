"""Packages the programs and the extension that native/build.py compiles; the rest is in pyproject.toml."""

import os
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "native"))
import build as native


class BuildNative(build_ext):
    """Compiles everything under native/ into the package (in place for an editable install)."""

    def run(self) -> None:
        package = (
            os.path.join("src", "trimaran")
            if self.inplace or self.editable_mode
            else os.path.join(self.build_lib, "trimaran")
        )
        native.build(package)

    def get_outputs(self) -> list[str]:
        return native.outputs(os.path.join(self.build_lib, "trimaran"))

    def get_output_mapping(self) -> dict[str, str]:
        return {}


setup(cmdclass={"build_ext": BuildNative}, ext_modules=[Extension("trimaran.linux._sys", sources=[])])
