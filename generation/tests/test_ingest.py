"""From what a provider sends to our own copy: checked, unchanged, with thumbnails, or not at all."""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone
from PIL import Image, ImageCms, ImageDraw

from generation import pixels, storage
from generation.fetching import Hosts
from generation.models import TaskImage
from generation.storage import CannotStore
from generation.tests.factories import TaskImageFactory
from generation.tests.strangers import Stranger, ok

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def written(image, kind, **options):
    """Return a file with this picture."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def quarters(size=(1000, 800), mode="RGB"):
    """A picture whose corners are red, green, blue and white, from the upper left row by row."""
    width, height = size
    image = Image.new("RGB", size, RED)
    draw = ImageDraw.Draw(image)
    draw.rectangle((width // 2, 0, width, height // 2), GREEN)
    draw.rectangle((0, height // 2, width // 2, height), BLUE)
    draw.rectangle((width // 2, height // 2, width, height), WHITE)
    return image.convert(mode)


def noise(size):
    return Image.effect_noise(size, 60).convert("RGB")


def corners(image):
    """Return the colours near the four corners, in the order of `quarters`."""
    width, height = image.size
    image = image.convert("RGBA")
    return [
        image.getpixel((x, y))
        for y in (height // 8, height - height // 8)
        for x in (width // 8, width - width // 8)
    ]


def differs(colours, expected):
    """Return by how much, at most, any part of these colours is not as expected."""
    return max(
        abs(a - b)
        for colour, wanted in zip(colours, expected, strict=True)
        for a, b in zip(colour, (*wanted, 255)[:4], strict=False)
    )


@pytest.fixture
def unstored(alice):
    """A picture still at the provider."""
    return TaskImageFactory(
        user=alice, storage_key="", stored_at=None, width=None, height=None, byte_size=None
    )


def ingest(image, content, *, path="/files/picture.png", **headers):
    """Store what a provider sends under that path."""
    with Stranger({path: ok(content, **headers)}) as provider:
        image.provider_url = provider.url(path)
        return storage.ingest(image=image, allowed_hosts=Hosts(trusted=("127.0.0.1",)))


def files_of(image):
    """Return the names of a task's files in our storage."""
    directory = f"generated/{image.created_at:%Y/%m}/{image.task_id}"
    if not default_storage.exists(directory):
        return []
    return sorted(default_storage.listdir(directory)[1])


def thumbnails(stored):
    """Return both thumbnails, small and large, opened."""
    start = stored.storage_key.rpartition(".")[0]
    opened = []
    for width in (320, 640):
        with default_storage.open(f"{start}-{width}.webp") as file:
            opened.append(Image.open(io.BytesIO(file.read())))
    return opened


# ---------------------------------------------------------------- what is kept
@pytest.mark.parametrize(
    ("kind", "content_type", "name"),
    [
        ("JPEG", "image/jpeg", "0.jpg"),
        ("PNG", "image/png", "0.png"),
        ("WEBP", "image/webp", "0.webp"),
    ],
)
def test_the_original_is_kept_byte_for_byte_under_its_true_type(unstored, kind, content_type, name):
    content = written(quarters(), kind, comment="as it came") + b"appended"

    stored = ingest(unstored, content, path="/x.gif", Content_Type="text/html")

    with default_storage.open(stored.storage_key) as file:
        assert file.read() == content
    assert files_of(unstored) == ["0-320.webp", "0-640.webp", name]
    assert (stored.content_type, stored.width, stored.height) == (content_type, 1000, 800)
    assert stored.byte_size == len(content)
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    assert stored.storage_key.endswith(f"/{unstored.task_id}/{name}")


def test_thumbnails_are_webp_of_two_widths_and_their_bytes_are_counted(unstored):
    stored = ingest(unstored, written(noise((1500, 1000)), "JPEG"))

    small, large = thumbnails(stored)
    assert (small.format, small.size) == ("WEBP", (320, 213))
    assert (large.format, large.size) == ("WEBP", (640, 427))
    start = stored.storage_key.rpartition(".")[0]
    assert stored.thumbnails_size == sum(
        default_storage.size(f"{start}-{width}.webp") for width in (320, 640)
    )


@pytest.mark.parametrize(
    ("size", "small", "large"),
    [
        ((200, 100), (200, 100), (200, 100)),
        ((320, 320), (320, 320), (320, 320)),
        ((500, 400), (320, 256), (500, 400)),
        ((641, 2), (320, 1), (640, 2)),
        ((2000, 1), (320, 1), (640, 1)),
        ((100, 30_000), (55, 16_383), (55, 16_383)),
        ((5120, 2560), (320, 160), (640, 320)),
        ((5121, 2563), (320, 160), (640, 320)),
        ((1, 1), (1, 1), (1, 1)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_thumbnails_are_never_larger_than_the_picture_nor_than_webp_can_be(
    kind, size, small, large
):
    checked = pixels.check(io.BytesIO(written(Image.new("RGB", size, RED), kind)))

    sizes = {
        width: Image.open(io.BytesIO(content)).size
        for width, content in checked.thumbnails.files.items()
    }
    assert sizes == {320: small, 640: large}
    assert (checked.width, checked.height) == size


@pytest.mark.parametrize("size", [(1024, 1024), (1300, 900), (2600, 1800), (6000, 4000)])
def test_thumbnails_look_like_the_picture_at_every_scale_it_may_be_decoded_at(size):
    checked = pixels.check(io.BytesIO(written(quarters(size), "JPEG", quality=95)))

    for content in checked.thumbnails.files.values():
        assert differs(corners(Image.open(io.BytesIO(content))), [RED, GREEN, BLUE, WHITE]) < 12


@pytest.mark.parametrize(
    ("picture", "kind", "options"),
    [
        (quarters(mode="CMYK"), "JPEG", {}),
        (quarters(mode="P"), "PNG", {}),
        (quarters().quantize(8), "PNG", {}),
        (quarters(mode="RGBA"), "PNG", {}),
        (quarters(mode="RGBA"), "WEBP", {"lossless": True}),
        (quarters(), "JPEG", {"progressive": True, "subsampling": 0}),
        (quarters((2600, 1800)), "MPO", {"save_all": True, "append_images": [noise((2600, 1800))]}),
        (quarters(), "PNG", {"save_all": True, "append_images": [noise((1000, 800))]}),
        (quarters(), "WEBP", {"save_all": True, "append_images": [noise((1000, 800))]}),
    ],
    ids=[
        *("CMYK", "palette", "small palette", "RGBA", "lossless", "progressive"),
        *("several pictures", "animated PNG", "animated WebP"),
    ],
)
def test_every_kind_of_picture_has_thumbnails_of_its_first_frame(unstored, picture, kind, options):
    content = written(picture, kind, **options)

    stored = ingest(unstored, content)

    assert (stored.width, stored.height) == picture.size
    assert stored.byte_size == len(content)
    for thumbnail in thumbnails(stored):
        assert getattr(thumbnail, "n_frames", 1) == 1
        assert differs(corners(thumbnail), [RED, GREEN, BLUE, WHITE]) < 16


@pytest.mark.parametrize(
    ("mode", "value", "shown"),
    [("L", 100, 100), ("1", 1, 255), ("I;16", 100 * 256 + 100, 100)],
)
def test_greys_keep_their_brightness(mode, value, shown):
    checked = pixels.check(io.BytesIO(written(Image.new(mode, (700, 500), value), "PNG")))

    for content in checked.thumbnails.files.values():
        assert differs(corners(Image.open(io.BytesIO(content))), [(shown,) * 3] * 4) <= 2


def see_through(mode):
    """Half is transparent, half is red."""
    image = Image.new("RGBA", (800, 400), (*RED, 255))
    image.paste((*GREEN, 0), (400, 0, 800, 400))
    if mode == "P":
        image = image.convert("RGB").quantize(4)
        return image, {"transparency": image.getpixel((700, 100))}
    if mode == "RGB":
        return image.convert("RGB"), {"transparency": GREEN}
    return image.convert(mode), {}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_what_is_transparent_stays_so(mode):
    picture, options = see_through(mode)

    checked = pixels.check(io.BytesIO(written(picture, "PNG", **options)))

    for content in checked.thumbnails.files.values():
        alphas = [colour[3] for colour in corners(Image.open(io.BytesIO(content)))]
        assert alphas == [255, 0, 255, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_measured_and_shown_upright_whatever_its_exif_says(unstored, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = quarters((3000, 2000))
    lying = upright.transpose(back[orientation]) if orientation in back else upright

    stored = ingest(unstored, written(lying, "JPEG", exif=exif, quality=95))

    assert (stored.width, stored.height) == (3000, 2000)
    small, large = thumbnails(stored)
    assert (small.size, large.size) == ((320, 213), (640, 427))
    for thumbnail in (small, large):
        assert differs(corners(thumbnail), [RED, GREEN, BLUE, WHITE]) < 16
        assert not thumbnail.getexif()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_bad_exif_block_does_not_cost_the_picture(kind):
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\x00" * 20

    checked = pixels.check(io.BytesIO(written(quarters(), kind, exif=exif)))

    assert (checked.width, checked.height) == (1000, 800)


def test_thumbnails_are_of_the_colours_of_the_web_and_carry_nothing_along():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    exif = Image.Exif()
    exif[0x010E] = "a secret"
    content = written(quarters(), "JPEG", icc_profile=lab, exif=exif, comment=b"a secret")

    checked = pixels.check(io.BytesIO(content))

    for thumbnail in checked.thumbnails.files.values():
        assert set(Image.open(io.BytesIO(thumbnail)).info) <= {"loop", "background", "timestamp"}
        assert b"secret" not in thumbnail


# ---------------------------------------------------------------- what is not
def forged_header(width, height, *, progressive=False):
    """A JPEG that says it is much larger than it is."""
    content = bytearray(written(Image.new("RGB", (64, 64)), "JPEG", progressive=progressive))
    start = content.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    content[start : start + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(content)


def cut(content, part=0.9):
    return content[: int(len(content) * part)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff",
        b"<!doctype html><title>Sign in</title>",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        written(quarters(), "GIF"),
        written(quarters(), "BMP"),
        written(quarters(), "TIFF"),
        cut(written(noise((1000, 800)), "JPEG")),
        cut(written(noise((1000, 800)), "JPEG", progressive=True)),
        written(noise((6000, 4000)), "JPEG")[:-40],
        written(noise((6000, 4000)), "JPEG", progressive=True)[:-40],
        cut(written(noise((1000, 800)), "PNG")),
        cut(written(noise((1000, 800)), "WEBP")),
        cut(written(noise((100, 80)), "WEBP", lossless=True)),
        cut(written(noise((100, 80)), "WEBP", save_all=True, append_images=[quarters((100, 80))])),
    ],
    ids=[
        *("nothing", "a beginning", "a page", "SVG", "PostScript", "GIF", "BMP", "TIFF"),
        *("JPEG cut", "progressive JPEG cut", "large JPEG cut", "large progressive JPEG cut"),
        *("PNG cut", "WebP cut", "lossless WebP cut", "animated WebP cut"),
    ],
)
def test_what_is_no_whole_picture_is_not_stored(unstored, content):
    with pytest.raises(CannotStore, match=r"What the provider sent is not a whole picture\."):
        ingest(unstored, content)

    assert files_of(unstored) == []


def bomb(side):
    return written(Image.new("1", (side, side)), "PNG")


@pytest.mark.parametrize(
    "content",
    [
        bomb(9000),
        forged_header(65000, 65000),
        forged_header(6000, 5000, progressive=True),
        written(Image.new("L", (16000, 1600)), "WEBP"),
    ],
    ids=["PNG", "JPEG", "progressive JPEG", "WebP"],
)
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(unstored, content):
    with pytest.raises(CannotStore, match=r"The picture has too many pixels\."):
        ingest(unstored, content)

    assert files_of(unstored) == []


def test_what_cannot_be_fetched_says_why_and_whether_waiting_helps(unstored, settings):
    settings.MAX_RESULT_BYTES = 1000
    with pytest.raises(CannotStore, match="larger than 1000 bytes") as flood:
        ingest(unstored, bytes(1001))
    unstored.provider_url = "http://a@127.0.0.1/"
    with pytest.raises(CannotStore, match="malformed") as malformed:
        storage.ingest(image=unstored, allowed_hosts=Hosts(trusted=("127.0.0.1",)))

    assert (flood.value.gone, malformed.value.gone) == (False, True)


# ---------------------------------------------------------------- failures of ours
@pytest.fixture
def obstacle(unstored):
    """A directory where the last file wants to be, so that saving it fails."""
    directory = f"generated/{unstored.created_at:%Y/%m}/{unstored.task_id}"
    path = Path(default_storage.path(f"{directory}/0-320.webp"))
    (path / "in the way").mkdir(parents=True)
    yield path
    shutil.rmtree(path)


def test_a_storage_that_fails_in_the_middle_keeps_nothing(unstored, obstacle):
    with pytest.raises(OSError, match="0-320"):
        ingest(unstored, written(quarters(), "JPEG"))

    assert files_of(unstored) == []


def test_a_failure_takes_nothing_from_another_worker_that_has_stored_it(unstored, obstacle):
    TaskImage.objects.filter(pk=unstored.pk).update(
        stored_at=timezone.now(), storage_key="generated/x.jpg"
    )

    with pytest.raises(OSError, match="0-320"):
        ingest(unstored, written(quarters(), "JPEG"))

    assert "0.jpg" in files_of(unstored)


def test_a_download_has_no_name_that_could_be_left_behind(unstored, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    content = written(noise((1000, 800)), "PNG")
    seen = []

    def look():
        for start in range(0, len(content), 100_000):
            seen.append(list(tmp_path.iterdir()))
            yield content[start : start + 100_000]

    with Stranger(lambda _path: [b"HTTP/1.0 200 OK\r\n\r\n", *look()]) as provider:
        unstored.provider_url = provider.url()
        storage.ingest(image=unstored, allowed_hosts=Hosts(trusted=("127.0.0.1",)))

    assert len(seen) > 3
    assert not any(seen)


# ---------------------------------------------------------------- nothing to see
@pytest.mark.parametrize(
    ("picture", "kind", "is_black"),
    [
        (Image.new("RGB", (1024, 1024)), "JPEG", True),
        (Image.new("RGB", (1024, 1024), (6, 2, 7)), "JPEG", True),
        (Image.new("L", (64, 64), 0), "PNG", True),
        (Image.new("RGBA", (64, 64), (0, 0, 0, 255)), "PNG", True),
        (Image.new("RGBA", (64, 64), (0, 0, 0, 0)), "PNG", False),
        (Image.new("RGB", (1024, 1024), (0, 0, 20)), "JPEG", False),
        (Image.new("RGB", (1024, 1024), (20, 0, 0)), "PNG", False),
        (quarters(), "PNG", False),
    ],
)
def test_a_picture_with_nothing_on_it_is_told_apart(unstored, picture, kind, is_black):
    assert ingest(unstored, written(picture, kind)).is_black is is_black


def test_one_star_in_the_night_is_something_to_see(unstored):
    night = Image.new("RGB", (1024, 1024))
    night.paste(WHITE, (500, 500, 508, 508))

    assert not ingest(unstored, written(night, "JPEG")).is_black
