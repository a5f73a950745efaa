"""The commands of trimaran-oci. Each module has ``run(context, name, words) -> exit status``."""
