"""Reference pictures: what is let in, and what becomes of it."""

from __future__ import annotations

import io

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo
from rest_framework.test import APIClient

from generation import uploads
from generation.models import Upload
from generation.tests.factories import image_bytes

PATH = "/api/flux/upload-image"


@pytest.fixture
def api(alice):
    client = APIClient()
    client.force_authenticate(alice)
    return client


def bring(api, content, name="photo.jpg", content_type="image/jpeg"):
    file = SimpleUploadedFile(name, content, content_type)
    return api.post(PATH, {"file": file}, format="multipart")


def phone_photo(size=(400, 300)):
    """A JPEG as phones write it: lying on its side, with position, maker and a comment."""
    image = Image.new("RGB", size, "white")
    image.paste("red", (0, 0, size[0], size[1] // 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn 90 degrees clockwise to see it upright.
    exif[0x010F] = "SecretPhone"
    exif.get_ifd(0x8825)[1] = "N"
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif, comment=b"at home", quality=95)
    return buffer.getvalue()


def stored(upload_id):
    upload = Upload.objects.get(pk=upload_id)
    with default_storage.open(upload.storage_key) as file:
        content = file.read()
    image = Image.open(io.BytesIO(content))
    image.load()
    return content, image


def test_a_phone_photo_is_turned_upright_and_tells_nothing_about_its_owner(api):
    answer = bring(api, phone_photo())

    assert answer.status_code == 201
    content, image = stored(answer.data["id"])
    assert answer.data == {
        "id": answer.data["id"],
        "url": f"/media/{answer.data['id']}",
        "width": 300,
        "height": 400,
        "bytes": len(content),
    }
    assert image.size == (300, 400)
    red, green, blue = image.getpixel((290, 200))
    assert (red > 200, green < 60, blue < 60) == (True, True, True)
    assert dict(image.getexif()) == {}
    for secret in (b"SecretPhone", b"at home", b"Exif"):
        assert secret not in content


@pytest.mark.filterwarnings("ignore:Tag data larger than file")
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_a_bad_exif_block_does_not_cost_the_picture(api, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    broken = exif.tobytes()[:-9] + b"\xff" * 9
    content = image_bytes((100, 80), kind=kind, exif=broken)

    assert bring(api, content).status_code == 201


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    original = Image.radial_gradient("L").resize((120, 80)).convert("RGB")
    original.paste("red", (0, 0, 30, 30))
    buffer = io.BytesIO()
    original.save(buffer, "PNG", exif=exif)

    picture, _kind = uploads.clean(buffer.getvalue())

    assert picture.tobytes() == ImageOps.exif_transpose(Image.open(buffer)).tobytes()


def test_text_chunks_and_appended_bytes_do_not_survive(api):
    text = PngInfo()
    text.add_text("Author", "alice")
    content = image_bytes((100, 100), pnginfo=text) + b"<script>alert(1)</script>"

    kept, image = stored(bring(api, content, "a.png").data["id"])

    assert image.format == "PNG"
    assert b"alice" not in kept
    assert b"script" not in kept


def test_thumbnails_are_made(api):
    upload = Upload.objects.get(pk=bring(api, image_bytes((1000, 500))).data["id"])

    sizes = []
    for width in (320, 640):
        with default_storage.open(upload.thumbnail_key(width)) as file:
            sizes.append(Image.open(file).size)

    assert sizes == [(320, 160), (640, 320)]
    assert upload.thumbnails_size == sum(
        default_storage.size(upload.thumbnail_key(width)) for width in (320, 640)
    )


def test_the_same_picture_again_is_the_same_upload(api):
    first = bring(api, image_bytes((100, 100)))
    again = bring(api, image_bytes((100, 100), optimize=True), "other-name.png")

    assert first.data["id"] == again.data["id"]
    assert Upload.objects.count() == 1


def test_two_members_bringing_the_same_picture_have_one_each(api, bob):
    bring(api, image_bytes((100, 100)))
    api.force_authenticate(bob)
    bring(api, image_bytes((100, 100)))

    assert Upload.objects.count() == 2
    assert len(set(Upload.objects.values_list("storage_key", flat=True))) == 2


@pytest.mark.parametrize(
    ("mode", "kind", "kept_mode", "kept_kind"),
    [
        ("CMYK", "JPEG", "RGB", "JPEG"),
        ("L", "JPEG", "RGB", "JPEG"),
        ("P", "PNG", "RGB", "PNG"),
        ("RGBA", "PNG", "RGBA", "PNG"),
        ("RGBA", "WEBP", "RGBA", "PNG"),
        ("RGB", "WEBP", "RGB", "JPEG"),
        ("1", "PNG", "RGB", "PNG"),
    ],
)
def test_every_kind_of_pixel_is_understood(api, mode, kind, kept_mode, kept_kind):
    buffer = io.BytesIO()
    Image.new(mode, (100, 100)).save(buffer, kind)

    _content, image = stored(bring(api, buffer.getvalue()).data["id"])

    assert (image.mode, image.format, image.size) == (kept_mode, kept_kind, (100, 100))


def test_sixteen_bit_grey_keeps_its_greys(api):
    buffer = io.BytesIO()
    Image.new("I;16", (100, 100), 0x8000).save(buffer, "PNG")

    _content, image = stored(bring(api, buffer.getvalue()).data["id"])

    assert image.getpixel((50, 50)) == (128, 128, 128)


def test_colours_are_converted_from_the_pictures_own_profile(api):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    content = image_bytes((100, 100), kind="JPEG", icc_profile=profile)

    _content, image = stored(bring(api, content).data["id"])

    assert "icc_profile" not in image.info


def test_a_very_large_photo_is_made_smaller(api):
    content = image_bytes((6000, 3000), kind="JPEG")

    answer = bring(api, content)

    assert (answer.data["width"], answer.data["height"]) == (4096, 2048)


GIF = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "JPEG, PNG or WebP"),
        (GIF, "JPEG, PNG or WebP"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "JPEG, PNG or WebP"),
        (b"\x00\x00\x00\x18ftypheic" + b"\x00" * 100, "HEIC"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 100, "damaged"),
        (phone_photo()[:3000], "damaged"),
        (image_bytes((63, 100)), "smaller"),
        (image_bytes((900, 100)), "Crop"),
        (image_bytes((8000, 5001)), "megapixels"),
        (b"\xff\xd8\xff" + b"\x00" * (10 * 1024 * 1024), "10 MB"),
    ],
    ids=["empty", "svg", "gif", "eps", "heic", "forged", "cut", "small", "long", "pixels", "bytes"],
)
def test_what_is_refused_is_told_which_rule_and_what_to_do(api, content, word):
    answer = bring(api, content)

    assert answer.status_code == (413 if word == "10 MB" else 400)
    assert list(answer.data["errors"]) == ["file"]
    assert word in answer.data["errors"]["file"][0]
    assert Upload.objects.count() == 0


def test_the_name_and_the_declared_type_decide_nothing(api):
    answer = bring(api, image_bytes((100, 100)), "../../evil.svg", "image/svg+xml")

    upload = Upload.objects.get(pk=answer.data["id"])
    assert upload.content_type == "image/png"
    assert ".." not in upload.storage_key


def test_a_decompression_bomb_is_refused_before_it_unpacks():
    with pytest.raises(uploads.UploadRefused) as caught:
        uploads.clean(image_bytes((12000, 12000), kind="PNG"))

    assert caught.value.code == "too_many_pixels"


def test_a_form_without_a_file_says_so(api):
    answer = api.post(PATH, {"file": "text"}, format="multipart")

    assert answer.data["errors"] == {"file": ["Choose a picture."]}


def test_strangers_bring_nothing(db):
    assert bring(APIClient(), image_bytes()).status_code == 401
