"""The effects of cgroups: finding the hierarchies, freezing, killing, measuring, removing."""
