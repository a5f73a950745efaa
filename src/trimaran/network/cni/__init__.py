"""Networks made by CNI plugins: https://www.cni.dev/docs/spec/, versions up to 1.1.0.

``directory`` finds configurations and programs, ``plugin`` runs one program, ``chain`` runs the plugins of a
configuration in their order, ``driver`` puts containers on such networks for the network manager.
"""
