"""Pictures: real files of exactly the promised size, the same for the same recipe.

A scene is painted small, enlarged, and given paper grain and a label at full size; the
softness that costs reads as watercolour. Where the request brought pictures, they stay
recognisable in the result: repainted, framed, arranged or re-coloured by the endpoint's
kind.
"""

from __future__ import annotations

import hashlib
import io
import math
import random
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from generation.sandbox.brushes import Canvas, faded, noise
from generation.sandbox.palettes import Palette, choose_motif, choose_palette, mix
from generation.sandbox.scenes import paint_motif

LABEL = "sandbox"
# Painting cost grows with this; twice as much is hardly to be told apart at 1 MP.
WORK_PIXELS = 480_000


@dataclass(frozen=True)
class Recipe:
    """All a picture depends on. ``index`` is its place among the pictures of one request.

    ``kind`` is text, repaint, edit, collage or variation; ``inputs`` are JPEG bytes;
    ``strength`` 0 keeps the input, 1 leaves it; ``black`` is what the safety checker sends.
    """

    endpoint: str
    kind: str
    prompt: str
    seed: int
    index: int
    width: int
    height: int
    format: str = "jpeg"
    inputs: tuple[bytes, ...] = ()
    strength: float = 0.5
    black: bool = False


def paint(recipe: Recipe) -> bytes:
    """Return the encoded picture."""
    if recipe.black:
        return _encoded(Image.new("RGB", (recipe.width, recipe.height)), recipe.format)
    chance = random.Random(_fingerprint(recipe))
    palette = choose_palette(recipe.prompt, chance)
    motif = choose_motif(recipe.prompt, chance)
    scale = min(1.0, math.sqrt(WORK_PIXELS / (recipe.width * recipe.height)))
    canvas = Canvas(max(8, round(recipe.width * scale)), max(8, round(recipe.height * scale)))
    paint_motif(motif, canvas, palette, chance)
    if recipe.inputs:
        pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in recipe.inputs]
        _WITH_INPUTS[recipe.kind](canvas, palette, pictures, recipe.strength, chance)
    canvas.vignette(0.3)
    full = Canvas(recipe.width, recipe.height)
    full.image = canvas.image.resize((recipe.width, recipe.height), Image.Resampling.BICUBIC)
    full.paper()
    _label(full.image)
    return _encoded(full.image, recipe.format)


def _fingerprint(recipe: Recipe) -> bytes:
    # The size is left out: one seed is one composition in every format.
    parts = (recipe.endpoint, recipe.prompt, str(recipe.seed), str(recipe.index))
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).digest()


def _encoded(image: Image.Image, file_format: str) -> bytes:
    buffer = io.BytesIO()
    if file_format == "png":
        image.save(buffer, "PNG", compress_level=1)
    elif file_format == "webp":
        image.save(buffer, "WEBP", quality=86, method=2)
    else:
        image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _label(image: Image.Image) -> None:
    size = max(9, round(min(image.size) * 0.02))
    font = _font(size)
    draw = ImageDraw.Draw(image, "RGBA")
    right, bottom = image.width - size, image.height - size * 0.8
    draw.text((right + 1, bottom + 1), LABEL, font=font, anchor="rs", fill=(0, 0, 0, 90))
    draw.text((right, bottom), LABEL, font=font, anchor="rs", fill=(255, 255, 255, 150))


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


# -- with input pictures -----------------------------------------------------------------


def _toned(picture: Image.Image, palette: Palette, share: float) -> Image.Image:
    """Return the picture with its tones drawn towards the palette."""
    shadow = mix(palette.near, (0, 0, 0), 0.25)
    middle = mix(palette.far, palette.sky[1], 0.4)
    light = mix(palette.light, palette.horizon, 0.3)
    duotone = ImageOps.colorize(
        ImageOps.autocontrast(picture.convert("L"), cutoff=1), shadow, light, middle
    )
    return Image.blend(picture, duotone, share)


def _repaint(
    canvas: Canvas, palette: Palette, pictures: list[Image.Image], strength: float,
    chance: random.Random,
) -> None:  # fmt: skip
    """Lay the scene over the input like a glaze, the thicker the greater the strength."""
    base = ImageOps.fit(pictures[0], canvas.image.size)
    base = _toned(base, palette, 0.15 + 0.5 * strength)
    canvas.image = Image.blend(base, canvas.image, 0.08 + 0.4 * strength)


def _edit(
    canvas: Canvas, palette: Palette, pictures: list[Image.Image], strength: float,
    chance: random.Random,
) -> None:  # fmt: skip
    """Let the input show through the scene as through a loosely brushed opening."""
    base = _toned(ImageOps.fit(pictures[0], canvas.image.size), palette, 0.12 + 0.4 * strength)
    margin = 0.05 + 0.2 * strength
    left, top = round(canvas.width * margin), round(canvas.height * margin)
    mask = Image.new("L", base.size)
    mask.paste(255, (left, top, canvas.width - left, canvas.height - top))
    mask = mask.filter(ImageFilter.BoxBlur(canvas.unit * 0.07))
    # Noise decides where the blurred border breaks: an edge as water leaves it.
    wet = Image.blend(noise(*base.size, 9, 7, chance), noise(*base.size, 34, 26, chance), 0.35)
    mask = Image.blend(mask, wet, 0.36).point(
        [round(255 * min(1.0, max(0.0, (value - 112) / 26))) for value in range(256)]
    )
    canvas.image.paste(base, (0, 0), mask)


def _collage(
    canvas: Canvas, palette: Palette, pictures: list[Image.Image], strength: float,
    chance: random.Random,
) -> None:  # fmt: skip
    """Lay the inputs side by side on the scene like prints on a table."""
    columns = min(
        len(pictures), max(1, round(math.sqrt(len(pictures) * canvas.width / canvas.height)))
    )
    rows = math.ceil(len(pictures) / columns)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        in_row = min(columns, len(pictures) - row * columns)
        cell = (canvas.width / in_row * 0.8, canvas.height / rows * 0.72)
        shrink = min(cell[0] / picture.width, cell[1] / picture.height)
        size = (max(4, round(picture.width * shrink)), max(4, round(picture.height * shrink)))
        border = max(2, round(canvas.unit * 0.014))
        toned = _toned(picture.resize(size), palette, 0.12 + 0.2 * strength)
        sheet = ImageOps.expand(toned, border, (250, 247, 240)).convert("RGBA")
        sheet = sheet.rotate(chance.uniform(-5, 5), Image.Resampling.BICUBIC, expand=True)
        x = round(canvas.width * (column + 0.5) / in_row - sheet.width / 2)
        y = round(canvas.height * (row + 0.5) / rows - sheet.height / 2)
        offset = round(canvas.unit * 0.012)
        canvas.image.paste(
            (10, 8, 20), (x + offset, y + offset), faded(sheet.getchannel("A"), 0.35)
        )
        canvas.image.paste(sheet, (x, y), sheet)


def _variation(
    canvas: Canvas, palette: Palette, pictures: list[Image.Image], strength: float,
    chance: random.Random,
) -> None:  # fmt: skip
    """Re-colour the input, seen a little closer and perhaps mirrored."""
    zoom = chance.uniform(0.0, 0.09)
    base = ImageOps.fit(pictures[0], canvas.image.size, bleed=zoom)
    if chance.random() < 0.5:
        base = ImageOps.mirror(base)
    canvas.image = _toned(base, palette, chance.uniform(0.55, 0.85))
    canvas.glow(
        canvas.width * chance.random(), 0, canvas.unit * 0.8, chance.choice(palette.accents), 0.3
    )


_WITH_INPUTS = {
    "repaint": _repaint,
    "edit": _edit,
    "collage": _collage,
    "variation": _variation,
}
