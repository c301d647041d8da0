"""Colours and subjects: what a prompt suggests and what chance decides.

A few words of English and Chinese steer the choice, so that "a cat at night" brings a cat
at night; everything else follows from the seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)


def rgb(text: str) -> Colour:
    value = int(text, 16)
    return value >> 16, value >> 8 & 255, value & 255


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the colour that lies ``share`` of the way from the first to the second."""
    share = min(1.0, max(0.0, share))
    return (
        round(first[0] + (second[0] - first[0]) * share),
        round(first[1] + (second[1] - first[1]) * share),
        round(first[2] + (second[2] - first[2]) * share),
    )


@dataclass(frozen=True)
class Palette:
    """``sky`` runs from the zenith down; ``far`` and ``near`` bound the land between."""

    name: str
    sky: tuple[Colour, ...]
    light: Colour
    far: Colour
    near: Colour
    accents: tuple[Colour, ...]
    dark: bool = False

    @property
    def horizon(self) -> Colour:
        return self.sky[-1]


def _palette(
    name: str, sky: str, light: str, far: str, near: str, accents: str, *, dark: bool = False
) -> Palette:
    return Palette(
        name=name,
        sky=tuple(rgb(part) for part in sky.split()),
        light=rgb(light),
        far=rgb(far),
        near=rgb(near),
        accents=tuple(rgb(part) for part in accents.split()),
        dark=dark,
    )


PALETTES = {
    palette.name: palette
    for palette in (
        _palette(
            "dawn",
            "3d4f86 8f7fa8 efa38a fde3bd",
            "fff3d6",
            "c79aa3",
            "2f2b4a",
            "e4572e f2b880 f7e1d7",
        ),
        _palette(
            "noon",
            "3f86bd 83bedb cfe6e6 f3f3e4",
            "fffbe8",
            "a3c3c9",
            "24575a",
            "e9b44c d1495b f4f1de",
        ),
        _palette(
            "dusk",
            "1f2a56 61407a c95f7c f7ad83",
            "ffe6b8",
            "935a7d",
            "221b38",
            "ff9f6b f4d58d c44569",
        ),
        _palette(
            "night",
            "060a1d 101d40 243a69 48608f",
            "f6f0da",
            "31446f",
            "090d1f",
            "ffd27a f2a65a 9fc3e8",
            dark=True,
        ),
        _palette(
            "ink",
            "e4e1d6 e9e6db f0ece1 f6f2e8",
            "c9432f",
            "ccd0ca",
            "262e31",
            "b5382a d9a441 5f7a76",
        ),
        _palette(
            "autumn",
            "7fa3ad c9c6a8 f2cf95 f8e2b8",
            "fff0c4",
            "d9a26a",
            "4a2320",
            "c8452d e58b2b f0c14b",
        ),
        _palette(
            "spring",
            "8cc3d8 bfe0dd e6efdc fbf1e6",
            "ffffff",
            "b9d6b4",
            "3a6b4c",
            "f08fab f7c6d0 fff3b0",
        ),
        _palette(
            "snow",
            "7f9dbd aec6da dbe5ec f4f3f0",
            "fffdf2",
            "c6d5e2",
            "4d647d",
            "d9534f f0c987 ffffff",
        ),
        _palette(
            "jade",
            "14474a 2f7d73 93c5a0 f1ecc6",
            "fff6cf",
            "86b59c",
            "0c2a2c",
            "f2b950 e76f51 d8e2a0",
        ),
        _palette(
            "rose",
            "5d3d66 b0668a eba9a1 fbe6d4",
            "fff2df",
            "c98ba0",
            "3a2140",
            "f6bd60 f28482 f7ede2",
        ),
    )
}

_PALETTE_WORDS = {
    "night": ("night", "moon", "star", "midnight", "neon", "cyber", "夜", "月", "星", "霓虹"),
    "dusk": ("sunset", "dusk", "evening", "twilight", "黄昏", "日落", "夕阳", "傍晚", "晚霞"),
    "dawn": ("dawn", "sunrise", "morning", "清晨", "日出", "黎明", "早晨", "晨"),
    "ink": ("ink", "sumi", "calligraphy", "shan shui", "水墨", "国画", "墨", "山水"),
    "autumn": ("autumn", "fall leaves", "harvest", "desert", "秋", "沙漠", "枫"),
    "spring": ("spring", "blossom", "cherry", "sakura", "春", "樱"),
    "snow": ("snow", "winter", "ice", "christmas", "雪", "冬", "冰"),
    "jade": ("jade", "emerald", "rainforest", "翡翠", "青绿"),
    "rose": ("pink", "rose", "romantic", "粉", "玫瑰"),
    "noon": ("noon", "summer", "sunny", "夏", "晴", "阳光"),
}
_MOTIF_WORDS = {
    "cat": ("cat", "kitten", "kitty", "猫", "喵"),
    "flowers": ("flower", "rose", "garden", "blossom", "tulip", "花", "樱", "玫瑰", "园"),
    "city": ("city", "street", "skyline", "tower", "cyber", "building", "城", "街", "楼", "都市"),
    "forest": ("forest", "tree", "wood", "jungle", "bamboo", "森林", "树", "竹", "林"),
    "sea": ("sea", "ocean", "beach", "boat", "ship", "wave", "lake", "海", "船", "湖", "浪", "帆"),
    "mountains": ("mountain", "peak", "alps", "shan shui", "valley", "山", "峰", "谷"),
    "meadow": ("hill", "field", "meadow", "village", "farm", "house", "田", "草原", "村", "屋"),
    "still_life": (
        "still life", "vase", "fruit", "apple", "cup", "tea", "bottle", "静物", "花瓶", "苹果",
        "茶", "杯", "水果",
    ),
}  # fmt: skip
MOTIFS = tuple(_MOTIF_WORDS)
# Left to chance, a cat in every eighth picture would be one too many.
_MOTIFS_BY_CHANCE = ("mountains", "sea", "city", "flowers", "forest", "meadow", "still_life")


def choose_palette(prompt: str, chance: random.Random) -> Palette:
    # Drawn whether needed or not: a word in the prompt must not shift later draws.
    drawn = PALETTES[chance.choice(sorted(PALETTES))]
    named = _named_in(prompt, _PALETTE_WORDS)
    return PALETTES[named] if named else drawn


def choose_motif(prompt: str, chance: random.Random) -> str:
    drawn = chance.choice(_MOTIFS_BY_CHANCE)
    return _named_in(prompt, _MOTIF_WORDS) or drawn


def _named_in(prompt: str, words: dict[str, tuple[str, ...]]) -> str | None:
    """Return the entry one of whose words comes first; Latin words count as whole words."""
    text = prompt.lower()
    spaced = " " + "".join(ch if ch.isalnum() else " " for ch in text) + " "
    best: tuple[int, str] | None = None
    for name, spellings in words.items():
        for word in spellings:
            if word.isascii():
                places = (spaced.find(f" {word} "), spaced.find(f" {word}s "))
                place = min((found for found in places if found >= 0), default=-1)
            else:
                place = text.find(word)
            if place >= 0 and (best is None or place < best[0]):
                best = (place, name)
    return best[1] if best else None
