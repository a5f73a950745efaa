"""The virtual file system: names, inodes and the file systems behind them."""
