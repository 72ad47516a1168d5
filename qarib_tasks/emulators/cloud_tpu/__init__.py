"""An emulator of the Cloud TPU API whose VMs are local processes."""
