"""The version, alone in a module so that the build reads it without importing the package."""

VERSION = "0.1.0"
