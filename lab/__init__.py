"""The lab: a virtual machine that has what the build machine lacks, in which the marked tests run."""
