"""Formats of images that are read, for those who but name files and decode nothing."""

EXTENSIONS = {"JPEG": "jpg", "MPO": "jpg"}
EXTENSIONS |= {"PNG": "png", "WEBP": "webp", "AVIF": "avif", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}
"""Pillow's formats, and the extension of a shard member by the format that the bytes themselves declare."""

ENDINGS = (*dict.fromkeys(EXTENSIONS.values()), "jpeg", "tiff")
"""How the names of such files end, the usual first."""
