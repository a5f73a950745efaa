"""OCI, CNI, CRI and CSI data types: parse, validate, say where it is wrong. No I/O."""
