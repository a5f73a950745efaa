"""What runs inside a microVM: its kernel, its initramfs and the agent that is its first process."""
