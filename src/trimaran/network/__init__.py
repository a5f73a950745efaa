"""Container networks: bridge, CNI, ports, DNS."""
