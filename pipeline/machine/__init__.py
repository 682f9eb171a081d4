"""The machine: devices, processes, work done ahead, progress."""
