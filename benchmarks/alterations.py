"""What becomes of images as they are passed on: other light and colours, mirrored, bordered, written upon, small."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, reduce

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from pipeline.images import decoding

Change = Callable[[Image.Image], Image.Image]
_SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])


def compressed(image: Image.Image, quality: int) -> Image.Image:
    """As a JPEG of this quality shows it."""
    return decoding.decode(decoding.encode_jpeg(image, quality))


def resized(image: Image.Image, x: float, y: float | None = None) -> Image.Image:
    """By a factor, or one for the width and one for the height."""
    size = (max(8, round(image.width * x)), max(8, round(image.height * (x if y is None else y))))
    return image.resize(size, Image.Resampling.LANCZOS)


def cropped(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """Without these shares of its sides."""
    w, h = image.size
    return image.crop((round(left * w), round(top * h), round((1 - right) * w), round((1 - bottom) * h)))


def _values(image: Image.Image, change: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    return Image.fromarray(np.clip(change(np.asarray(image, np.float64)), 0, 255).astype(np.uint8))


def _gain(image: Image.Image, *factors: float) -> Image.Image:
    return _values(image, lambda v: v * np.array(factors))


def _gamma(image: Image.Image, exponent: float) -> Image.Image:
    return _values(image, lambda v: 255 * (v / 255) ** exponent)


def _enhanced(image: Image.Image, kind: str, factor: float) -> Image.Image:
    return getattr(ImageEnhance, kind)(image).enhance(factor)


def _grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def _turned_colours(image: Image.Image, degrees: float) -> Image.Image:
    values = np.asarray(image.convert("HSV")).copy()
    values[..., 0] = (values[..., 0].astype(int) + round(degrees / 360 * 256)) % 256
    return Image.fromarray(values, "HSV").convert("RGB")


def _bordered(image: Image.Image, share: float, colour: str) -> Image.Image:
    return ImageOps.expand(image, max(1, round(share * min(image.size))), colour)


def _letterbox(image: Image.Image, share: float) -> Image.Image:
    band = round(share * image.height)
    canvas = Image.new("RGB", (image.width, image.height + 2 * band), "black")
    canvas.paste(image, (0, band))
    return canvas


def _squared(image: Image.Image) -> Image.Image:
    return ImageOps.pad(image, (max(image.size),) * 2, color="white")


def _written(image: Image.Image, place: str, opacity: float) -> Image.Image:
    w, h = image.size
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw, font = ImageDraw.Draw(layer), ImageFont.load_default(max(7.0, 0.06 * h))
    anchors = {"centre": ((w / 2, h / 2), "mm"), "corner": ((0.97 * w, 0.97 * h), "rb")}
    spots = (
        [anchors[place]]
        if place in anchors
        else [((w * x, h * y), "lt") for x in (0, 0.5) for y in (0, 0.25, 0.5, 0.75)]
    )
    for spot, anchor in spots:
        draw.text(spot, "(c) stockphotos.com", font=font, fill=(255, 255, 255, round(255 * opacity)), anchor=anchor)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def _sealed(image: Image.Image, share: float) -> Image.Image:
    """With a solid disc in a corner."""
    copy, side = image.copy(), round(share * min(image.size))
    ImageDraw.Draw(copy).ellipse(
        (image.width - 1.2 * side, 0.2 * side, image.width - 0.2 * side, 1.2 * side), fill="red"
    )
    return copy


def _barred(image: Image.Image, share: float) -> Image.Image:
    """Upon a white bar with a line of text."""
    bar = round(share * image.height)
    canvas = Image.new("RGB", (image.width, image.height + bar), "white")
    canvas.paste(image)
    font = ImageFont.load_default(max(7.0, 0.6 * bar))
    middle = (image.width / 2, image.height + bar / 2)
    ImageDraw.Draw(canvas).text(middle, "Dogs on the beach", font=font, fill="black", anchor="mm")
    return canvas


def _turned(image: Image.Image, degrees: float) -> Image.Image:
    """And cropped to what is left without corners."""
    lost = abs(np.sin(np.radians(degrees))) / 2 * 1.05
    w, h = image.size
    return cropped(
        image.rotate(degrees, Image.Resampling.BICUBIC), lost * h / w, lost * w / h, lost * h / w, lost * w / h
    )


def _blurred(image: Image.Image, share: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(share * min(image.size)))


def _noisy(image: Image.Image, level: float) -> Image.Image:
    rng = np.random.default_rng(0)
    return _values(image, lambda v: v + rng.normal(0, level, v.shape))


def _side(image: Image.Image, pixels: int, quality: int) -> Image.Image:
    return compressed(resized(image, pixels / min(image.size)), quality)


def _chain(*changes: Change) -> Change:
    return lambda image: reduce(lambda one, change: change(one), changes, image)


def all_of_them() -> Iterator[tuple[str, str, Change]]:
    """Kind, strength, and the change itself."""
    for quality in (40, 15):
        yield "compressed", f"quality {quality}", partial(compressed, quality=quality)
    for factor in (0.5, 1.25):
        yield "resized", f"{factor:g}", partial(resized, x=factor)
    for factor, quality in ((1 / 3, 50), (1 / 4, 50)):
        yield (
            "resized",
            f"{factor:.2f}, quality {quality}",
            _chain(partial(resized, x=factor), partial(compressed, quality=quality)),
        )
    for pixels in (96, 64, 48, 32):
        yield "shorter side", f"{pixels} px, quality 60", partial(_side, pixels=pixels, quality=60)
    for x, y in ((1.3, 1), (0.6, 1), (1, 1.5)):
        yield "stretched", f"{x:g} x {y:g}", partial(resized, x=x, y=y)
    for gain in (1.15, 1.3, 1.6, 0.85, 0.7, 0.5):
        yield "lighter" if gain > 1 else "darker", f"{gain:g}", lambda image, gain=gain: _gain(image, gain)
    for factor in (1.2, 1.5, 2, 0.8, 0.5):
        yield "contrast", f"{factor:g}", partial(_enhanced, kind="Contrast", factor=factor)
    for exponent in (0.5, 0.7, 1.4, 2):
        yield "gamma", f"{exponent:g}", partial(_gamma, exponent=exponent)
    for factor in (0.3, 0.6, 1.5, 2, 3):
        yield "saturation", f"{factor:g}", partial(_enhanced, kind="Color", factor=factor)
    for name, cast in (("warm", (1.15, 1, 0.85)), ("cold", (0.8, 1, 1.2)), ("green", (0.9, 1.15, 0.9))):
        yield "cast", name, lambda image, cast=cast: _gain(image, *cast)
    for degrees in (11, 28):
        yield "hues turned", f"{degrees} degrees", partial(_turned_colours, degrees=degrees)
    yield "grey", "", _grey
    yield "sepia", "", lambda image: _values(image, lambda v: v @ _SEPIA.T)
    yield "equalized", "", ImageOps.equalize
    yield "mirrored", "", ImageOps.mirror
    for share in (0.02, 0.05, 0.1, 0.2):
        for colour in ("white", "black"):
            yield "border", f"{share:g}, {colour}", partial(_bordered, share=share, colour=colour)
    yield "border", "0.08, crimson", partial(_bordered, share=0.08, colour="crimson")
    yield (
        "border",
        "two",
        _chain(partial(_bordered, share=0.03, colour="black"), partial(_bordered, share=0.06, colour="white")),
    )
    for share in (0.15, 0.3):
        yield "letterbox", f"{share:g} each", partial(_letterbox, share=share)
    yield "padded", "to a white square", _squared
    for place, opacity in (("centre", 0.5), ("corner", 1.0), ("all over", 0.4), ("all over", 0.7)):
        yield "written upon", f"{place}, {opacity:.0%}", partial(_written, place=place, opacity=opacity)
    for share in (0.06, 0.18):
        yield "solid disc upon it", f"{share:g}", partial(_sealed, share=share)
    yield "bar with a caption", "0.12", partial(_barred, share=0.12)
    for share in (0.02, 0.05, 0.1):
        yield "cropped, all sides", f"{share:g}", partial(cropped, left=share, top=share, right=share, bottom=share)
    for share in (0.1, 0.2):
        yield "cropped, one side", f"{share:g}", partial(cropped, left=share, top=0, right=0, bottom=0)
        yield "cropped, two sides", f"{share:g}", partial(cropped, left=0, top=0, right=share, bottom=share)
    for degrees in (1, 3, 5):
        yield "turned", f"{degrees} degrees", partial(_turned, degrees=degrees)
    for share in (0.005, 0.01, 0.02):
        yield "blurred", f"{share:g} of the side", partial(_blurred, share=share)
    yield "noise", "20 levels", partial(_noisy, level=20)
    yield (
        "mirrored, border, lighter",
        "1.2",
        _chain(ImageOps.mirror, partial(_bordered, share=0.06, colour="white"), lambda image: _gain(image, 1.2)),
    )
    yield (
        "written upon, grey, border",
        "",
        _chain(partial(_written, place="centre", opacity=0.5), _grey, partial(_bordered, share=0.05, colour="black")),
    )
    yield (
        "cropped 0.05, saturation 1.6, mirrored",
        "",
        _chain(
            partial(cropped, left=0.05, top=0.05, right=0.05, bottom=0.05),
            partial(_enhanced, kind="Color", factor=1.6),
            ImageOps.mirror,
        ),
    )
