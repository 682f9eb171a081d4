"""Images with structures of every size, as photographs have them, and what is done to them."""

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps
from tiny_corpora import encoded

from pipeline.images.decoding import decode


def photograph(number, size=(240, 180)):
    """Another number gives another image."""
    rng = np.random.default_rng(number)
    total = np.zeros((size[1], size[0], 3))
    for cells, strength in ((3, 60), (6, 40), (12, 25), (24, 15), (48, 8)):
        grey, tint = rng.normal(0, strength, (cells, cells, 1)), rng.normal(0, strength / 3, (cells, cells, 3))
        layer = np.clip(128 + grey + tint, 0, 255).astype(np.uint8)
        total += np.asarray(Image.fromarray(layer).resize(size, Image.Resampling.BICUBIC)).astype(float) - 128
    return Image.fromarray(np.clip(128 + 0.8 * total, 0, 255).astype(np.uint8))


def gain(image, factor):
    return image.point(lambda v: min(255, round(v * factor)))


def gamma(image, exponent):
    return image.point(lambda v: round(255 * (v / 255) ** exponent))


def grey(image):
    return image.convert("L").convert("RGB")


def sepia(image):
    matrix = (0.393, 0.769, 0.189, 0, 0.349, 0.686, 0.168, 0, 0.272, 0.534, 0.131, 0)
    return image.convert("RGB", matrix)


def bordered(image, share, colour):
    return ImageOps.expand(image, round(share * min(image.size)), colour)


def letterboxed(image):
    canvas = Image.new("RGB", (image.width, round(1.4 * image.height)))
    canvas.paste(image, (0, round(0.2 * image.height)))
    return canvas


def written(image):
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    middle, font = (image.width / 2, image.height / 2), ImageFont.load_default(0.08 * image.height)
    ImageDraw.Draw(layer).text(middle, "(c) stockphotos.com", font=font, fill=(255, 255, 255, 130), anchor="mm")
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def cropped(image, left, top, right, bottom):
    w, h = image.size
    return image.crop((round(left * w), round(top * h), round((1 - right) * w), round((1 - bottom) * h)))


def small(image, side=80):
    copy = image.copy()
    copy.thumbnail((side, side))
    return decode(encoded(copy, "JPEG", quality=50))


ALTERED = {
    "lighter": lambda p: gain(p, 1.25),
    "darker": lambda p: gain(p, 0.6),
    "more contrast": lambda p: ImageEnhance.Contrast(p).enhance(1.5),
    "less contrast": lambda p: ImageEnhance.Contrast(p).enhance(0.5),
    "gamma": lambda p: gamma(p, 1.8),
    "saturated": lambda p: ImageEnhance.Color(p).enhance(2),
    "tinted": lambda p: Image.merge("RGB", [gain(c, f) for c, f in zip(p.split(), (1.15, 1, 0.8), strict=True)]),
    "grey": grey,
    "sepia": sepia,
    "mirrored": ImageOps.mirror,
    "white border": lambda p: bordered(p, 0.08, "white"),
    "black border": lambda p: bordered(p, 0.15, "black"),
    "red border": lambda p: bordered(p, 0.05, "red"),
    "two borders": lambda p: bordered(bordered(p, 0.05, "black"), 0.05, "white"),
    "letterboxed": letterboxed,
    "written upon": written,
    "small": small,
    "cropped on all sides": lambda p: cropped(p, 0.1, 0.1, 0.1, 0.1),
    "cropped on one side": lambda p: cropped(p, 0.15, 0, 0, 0),
    "cropped on two": lambda p: cropped(p, 0, 0.12, 0.12, 0),
    "turned": lambda p: cropped(p.rotate(3, Image.Resampling.BICUBIC), 0.04, 0.04, 0.04, 0.04),
    "stretched": lambda p: p.resize((240, 260)),
    "mirrored, bordered, lighter": lambda p: gain(bordered(ImageOps.mirror(p), 0.06, "white"), 1.2),
}
"""What the leak guard is there for."""
