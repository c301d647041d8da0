"""Rows for tests. Pictures get real files, drawn small."""

from __future__ import annotations

import hashlib
import io
from datetime import timedelta
from typing import Any

import factory
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from PIL import Image

from generation.ids import new_id
from generation.models import FluxTask, JimengTask, MidjourneyTask, TaskImage, Upload


def image_bytes(
    size: tuple[int, int] = (96, 64), *, kind: str = "PNG", colour: Any = "teal", **save: Any
) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind, **save)
    return buffer.getvalue()


class UserFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = get_user_model()

    username = factory.Sequence(lambda n: f"member{n}")


class FluxTaskFactory(factory.django.DjangoModelFactory):
    """A waiting task; `at_provider`, `succeeded` and `failed` are later states."""

    class Meta:
        model = FluxTask

    class Params:
        at_provider = factory.Trait(
            status="IN_QUEUE",
            submission="ACCEPTED",
            request_id=factory.LazyFunction(new_id),
            submitted_at=factory.LazyFunction(timezone.now),
            accepted_at=factory.LazyFunction(timezone.now),
            deadline_at=factory.LazyFunction(lambda: timezone.now() + timedelta(seconds=300)),
        )
        succeeded = factory.Trait(
            status="SUCCESS",
            submission="ACCEPTED",
            request_id=factory.LazyFunction(new_id),
            submitted_at=factory.LazyFunction(timezone.now),
            accepted_at=factory.LazyFunction(timezone.now),
            completed_at=factory.LazyFunction(timezone.now),
            image_url="https://v3.fal.media/files/picture.png",
            result_seed="17454220438242315174",
            generation_time=1.5,
            next_action_at=None,
        )
        failed = factory.Trait(
            status="FAILED",
            error_code="provider_error",
            completed_at=factory.LazyFunction(timezone.now),
            next_action_at=None,
        )

    user = factory.SubFactory(UserFactory)
    model = "fal-ai/flux-1/schnell"
    endpoint = "fal-ai/flux-1/schnell"
    task_type = "text_to_image"
    prompt = "一只猫 a cat"
    parameters = factory.LazyFunction(lambda: {"num_images": 1, "aspect_ratio": "1:1"})
    aspect_ratio = "1:1"
    next_action_at = factory.LazyFunction(timezone.now)


class MidjourneyTaskFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = MidjourneyTask

    user = factory.SubFactory(UserFactory)
    status = "SUCCESS"
    prompt = "a lighthouse"
    image_url = "https://cdn.example/mj.png"


class JimengTaskFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = JimengTask

    user = factory.SubFactory(UserFactory)
    status = "SUCCESS"
    model = "jimeng-4.0"
    prompt = "山水"
    image_url = "https://cdn.example/jm.png"


class _StoredPictureFactory(factory.django.DjangoModelFactory):
    class Meta:
        abstract = True
        skip_postgeneration_save = True

    user = factory.SubFactory(UserFactory)
    content_type = "image/png"
    width = 96
    height = 64

    @factory.post_generation
    def with_files(self: Any, create: bool, extracted: Any, **kwargs: Any) -> None:
        if self.storage_key:
            content = image_bytes((self.width, self.height))
            default_storage.save(self.storage_key, ContentFile(content))
            for width in (320, 640):
                thumbnail = image_bytes((self.width, self.height), kind="WEBP")
                default_storage.save(self.thumbnail_key(width), ContentFile(thumbnail))


class TaskImageFactory(_StoredPictureFactory):
    """A stored picture; pass storage_key="" and stored_at=None for one still at the provider."""

    class Meta:
        model = TaskImage
        skip_postgeneration_save = True

    class Params:
        task = None

    source = "flux"
    task_id = factory.LazyAttribute(lambda o: o.task.pk if o.task else new_id())
    position = 0
    provider_url = "https://v3.fal.media/files/picture.png"
    storage_key = factory.LazyAttribute(lambda o: f"generated/{o.task_id}/{o.position}.png")
    sha256 = factory.LazyAttribute(lambda o: hashlib.sha256(o.task_id.encode()).hexdigest())
    byte_size = 1000
    stored_at = factory.LazyFunction(timezone.now)


class UploadFactory(_StoredPictureFactory):
    class Meta:
        model = Upload
        skip_postgeneration_save = True

    pixel_hash = factory.LazyFunction(lambda: hashlib.sha256(new_id().encode()).hexdigest())
    storage_key = factory.LazyAttribute(lambda o: f"uploads/{o.user.pk}/{o.pixel_hash}.png")
    byte_size = 1000
