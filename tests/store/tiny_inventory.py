"""What an inventory of a store says."""

import os

from pipeline.store import inventory


def folders(held):
    return [h.folder for h in held]


def used_at(folder, seconds):
    os.utime(folder / "collection.json", (seconds, seconds))


def faulty(root):
    """Paths and faults of all that is damaged."""
    return [fault for held in inventory.collections(root) for fault in inventory.faults(held)]
