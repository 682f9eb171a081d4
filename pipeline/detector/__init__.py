"""Regions: an ultralytics YOLO, its weights checked by hash, its boxes capped and cut out as crops."""
