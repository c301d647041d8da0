"""The tables of generation: configuration, tasks of three sources, pictures, uploads.

Table and column names follow the product's specification (`flux_config`, `flux_tasks`,
`mj_tasks`, `dreamwork_tasks`), so that software written against it finds what it expects.
Who may change a FLUX task is told in generation/lifecycle.py; nothing here changes state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import connections, models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from fluxsite import request_ids
from generation import catalogue, fields
from generation.ids import new_id


# ---------------------------------------------------------------- configuration
class FluxConfig(models.Model):
    """The one row that says where and how pictures are drawn. The key never leaves it."""

    class AuthScheme(models.TextChoices):
        KEY = "Key", _("Key (fal.ai)")
        BEARER = "Bearer", _("Bearer (relays)")

    PK = "default"

    id = models.CharField(primary_key=True, max_length=255, default=PK, editable=False)
    api_key = fields.EncryptedTextField(_("fal key"), blank=True, default="")
    base_url = models.CharField(
        _("base URL"),
        max_length=500,
        default="https://queue.fal.run",
        help_text=_("fal's queue, or the address of a relay that keeps fal's paths."),
    )
    auth_scheme = models.CharField(
        _("authorization scheme"),
        max_length=10,
        choices=AuthScheme.choices,
        default=AuthScheme.KEY,
    )
    enabled = models.BooleanField(
        _("enabled"), default=True, help_text=_("Off: nothing new is accepted or sent.")
    )
    timeout = models.PositiveIntegerField(
        _("timeout"),
        default=300,
        validators=[MinValueValidator(10)],
        help_text=_("Seconds a task may take at the provider before it is given up."),
    )
    max_concurrent_tasks = models.PositiveIntegerField(
        _("concurrent tasks"),
        default=5,
        validators=[MinValueValidator(1)],
        help_text=_("Tasks at the provider at the same time; the others wait here, fairly."),
    )
    max_concurrent_per_member = models.PositiveIntegerField(
        _("concurrent tasks per member"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("So many of one member's tasks at the provider at most; empty: no limit."),
    )
    default_model = models.CharField(
        _("default model"), max_length=100, default=catalogue.DEFAULT_MODEL
    )
    webhook_enabled = models.BooleanField(
        _("webhooks"),
        default=False,
        help_text=_("Let the provider announce results. Needs an address it can reach."),
    )
    environment_seal = models.CharField(
        max_length=64,
        blank=True,
        default="",
        editable=False,
        help_text=_("Which environment variables were last taken over."),
    )
    # Which state of the models' terms is in force (generation/offering.py); "": all as in the catalogue.
    models_revision = models.CharField(max_length=32, blank=True, default="", editable=False)
    # The breaker: the provider refuses our key or our account, so nothing new is sent until
    # `probe_at`, when one task tries (generation/channel.py).
    refused_at = models.DateTimeField(null=True, blank=True, editable=False)
    refusal_code = models.CharField(max_length=40, blank=True, default="", editable=False)
    refusal_detail = models.TextField(blank=True, default="", editable=False)
    probe_at = models.DateTimeField(null=True, blank=True, editable=False)
    probes = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "flux_config"
        verbose_name = verbose_name_plural = _("provider configuration")
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(id="default"), name="flux_config_one_row"),
            models.CheckConstraint(
                condition=Q(max_concurrent_tasks__gte=1), name="flux_config_some_concurrency"
            ),
        ]

    def __str__(self) -> str:
        return str(_("provider configuration"))

    def save(self, *args: Any, **kwargs: Any) -> None:
        # It may have been read before the models' terms changed: the old revision must not return.
        if not self._state.adding and kwargs.get("update_fields") is None:
            kwargs["update_fields"] = {
                field.name
                for field in self._meta.concrete_fields
                if not field.primary_key and field.name != "models_revision"
            }
        super().save(*args, **kwargs)

    def set_api_key(self, plain: str) -> None:
        # A key pasted with its line end is refused by fal with a bare 401.
        self.api_key = fields.encrypt("".join(plain.split()))

    def get_api_key(self) -> str:
        """Return the key in clear. Raises fields.KeyUnreadable."""
        return fields.decrypt(self.api_key)

    def close_breaker(self) -> None:
        """Forget that the provider refused us: something was changed, so it is tried anew."""
        self.refused_at = self.probe_at = None
        self.refusal_code = self.refusal_detail = ""
        self.probes = 0

    def masked_api_key(self) -> str:
        """Return `••••1234`, "" without a key, `????` for one that cannot be decrypted."""
        try:
            key = self.get_api_key()
        except fields.KeyUnreadable:
            return "????"
        return f"••••{key[-4:]}" if key else ""


# ---------------------------------------------------------------- models
class OfferedModel(models.Model):
    """What staff have decided about a model of the catalogue. Without a row, or with this one as
    it is made, it is offered to everybody as the catalogue has it. What changes these rows calls
    offering.renew."""

    id = models.CharField(_("model"), primary_key=True, max_length=100, editable=False)
    enabled = models.BooleanField(
        _("enabled"),
        default=True,
        help_text=_("Off: it takes no new tasks. What is accepted already is drawn."),
    )
    label = models.CharField(
        _("name"), max_length=60, blank=True, default="", help_text=_("Empty: its own name.")
    )
    position = models.PositiveSmallIntegerField(
        _("position"),
        null=True,
        blank=True,
        help_text=_("Lowest first; those without one follow, as in the catalogue."),
    )
    groups: ClassVar = models.ManyToManyField(
        "auth.Group", through="OfferedTo", related_name="+", blank=True, verbose_name=_("groups")
    )

    class Meta:
        db_table = "flux_models"
        verbose_name = _("model")
        verbose_name_plural = _("models")
        ordering: ClassVar = ["position", "id"]

    def __str__(self) -> str:
        model = catalogue.find_model(self.pk)
        return model.own_name if model else self.pk


class OfferedTo(models.Model):
    """A group that may use a model that is kept to some."""

    model = models.ForeignKey(OfferedModel, models.CASCADE, related_name="+")
    # Were it deleted with its group, a model kept to that group alone would be everybody's.
    group = models.ForeignKey("auth.Group", models.PROTECT, related_name="+")

    class Meta:
        db_table = "flux_model_groups"
        default_permissions = ()
        verbose_name = verbose_name_plural = _("models kept to groups")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["model", "group"], name="flux_model_groups_once"),
        ]

    def __str__(self) -> str:
        return f"{self.model} – {self.group}"


class ModelAlias(models.Model):
    """A name that other software calls a model by, `gpt-image-1` for one, and what is meant by it
    here (generation/aliases.py). Where nothing is named, the site's default is meant."""

    name = models.CharField(_("name"), primary_key=True, max_length=100)
    draws = models.CharField(_("draws with"), max_length=100, blank=True, default="")
    edits = models.CharField(_("edits with"), max_length=100, blank=True, default="")

    class Meta:
        db_table = "flux_model_aliases"
        verbose_name = _("model alias")
        verbose_name_plural = _("model aliases")
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


# ---------------------------------------------------------------- tasks
class ImageTask(models.Model):
    """What the tasks of every source share. The three tables use the same types for these
    columns: the unified history is merged from their indexes, and a mixed type would turn
    that into a sort of everything (docs/adr/0003)."""

    id = models.CharField(primary_key=True, max_length=255, default=new_id, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", db_index=False
    )
    status = models.CharField(max_length=20)
    prompt = models.TextField(blank=True, default="")
    image_url = models.TextField(blank=True, default="")
    cloud_image_url = models.TextField(blank=True, default="")
    is_favourite = models.BooleanField(default=False)
    trashed_at = models.DateTimeField(null=True, blank=True)
    # Where an imported task came from and what it was called there (import_openwebui). Such a
    # task is never sent, never asked about and costs nothing.
    origin = models.CharField(max_length=60, blank=True, default="")
    external_id = models.CharField(max_length=255, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.pk


def _history_indexes(table: str) -> list[models.Index]:
    """Return what the pages of the history are read from, the same on every table: a member's
    entries, those they marked, those of a model, what failed, and everybody's tasks. Their
    conditions are those of the views, word for word (history/view.py)."""
    shown = Q(trashed_at__isnull=True)
    entries = Q(status="SUCCESS", trashed_at__isnull=True)
    unmade = ~Q(status__in=["SUCCESS", "PENDING", "IN_QUEUE", "IN_PROGRESS"]) & shown
    newest = ["-created_at", "-id"]
    return [
        models.Index(fields=["user", *newest], condition=entries, name=f"idx_{table}_history"),
        models.Index(
            fields=["user", *newest],
            condition=entries & Q(is_favourite=True),
            name=f"idx_{table}_favourites"[:30],
        ),
        models.Index(
            fields=["user", "model", *newest], condition=entries, name=f"idx_{table}_model"
        ),
        models.Index(
            fields=["user", "status", *newest],
            condition=unmade,
            name=f"idx_{table}_failures"[:30],
        ),
        # Not of entries alone: without statistics SQLite would sooner collect all of a status.
        models.Index(fields=newest, condition=shown, name=f"idx_{table}_all"),
        # What is thrown away after its thirty days.
        models.Index(
            fields=["trashed_at"],
            condition=Q(trashed_at__isnull=False),
            name=f"idx_{table}_trash",
        ),
    ]


def _imported_once(table: str) -> models.UniqueConstraint:
    return models.UniqueConstraint(
        fields=["origin", "external_id"],
        condition=~Q(origin=""),
        name=f"{table}_imported_once",
    )


class FluxTaskQuerySet(models.QuerySet["FluxTask"]):
    def for_user(self, user: Any) -> FluxTaskQuerySet:
        return self.filter(user=user, trashed_at=None)

    def unfinished(self) -> FluxTaskQuerySet:
        return self.filter(status__in=FluxTask.UNFINISHED)

    def sent(self) -> FluxTaskQuerySet:
        """Tasks the provider has, or may have; ended ones too, whose result may still come."""
        return self.exclude(submission=FluxTask.Submission.UNSENT)

    def at_provider(self) -> FluxTaskQuerySet:
        """Tasks that take a slot: sent, or perhaps sent, and not ended."""
        return self.unfinished().sent()

    def waiting(self) -> FluxTaskQuerySet:
        return self.filter(status=FluxTask.Status.PENDING, submission=FluxTask.Submission.UNSENT)

    def change_one(self, task_id: str, *, where: Mapping[str, Any], **values: Any) -> bool:
        """Set columns of a task whose other columns have certain values, or are one of several.
        False: they have not.

        The same as `filter(pk=…).update(…)`, in SQL: every task goes through some five of these,
        and Django takes ten times as long to build each as the database to execute it.
        """
        sql, row = _update_of_one(task_id, where, values, connection := connections[self.db])
        with connection.cursor() as cursor:
            cursor.execute(sql, row)
            return bool(cursor.rowcount)

    def change_each(
        self, changes: Iterable[tuple[str, Mapping[str, Any], Mapping[str, Any]]]
    ) -> int:
        """Do what `change_one` does to several tasks: their ids, `where` and values, which name
        the same columns for all. Returns how many were changed. In a transaction of the
        caller's."""
        connection = connections[self.db]
        updates = [_update_of_one(*change, connection) for change in changes]
        if not updates:
            return 0
        with connection.cursor() as cursor:
            cursor.executemany(updates[0][0], [row for _sql, row in updates])
            return int(cursor.rowcount)


def _update_of_one(
    task_id: str, where: Mapping[str, Any], values: Mapping[str, Any], connection: Any
) -> tuple[str, list[Any]]:
    """Return a statement for change_one, and its parameters."""
    conditions: list[str] = []
    wanted: list[Any] = []
    for column, value in where.items():
        among = value if isinstance(value, tuple) else (value,)
        conditions.append(f"{column} IN ({', '.join(['%s'] * len(among))})")
        wanted += among
    sets = ", ".join(f"{column} = %s" for column in values)
    sql = f"UPDATE flux_tasks SET {sets} WHERE id = %s AND {' AND '.join(conditions)}"  # noqa: S608
    return sql, [_adapted(value, connection) for value in [*values.values(), task_id, *wanted]]


def _adapted(value: Any, connection: Any) -> Any:
    """Return a value as the database's driver takes it."""
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return value.value if isinstance(value, models.TextChoices) else value


class FluxTask(ImageTask):
    class Status(models.TextChoices):
        """PENDING → IN_QUEUE → IN_PROGRESS → SUCCESS | FAILED | CANCELLED.

        IN_PROGRESS may be skipped, and every unfinished state may end in FAILED or
        CANCELLED. The last three are final.
        """

        PENDING = "PENDING", _("Waiting")
        IN_QUEUE = "IN_QUEUE", _("Queued")
        IN_PROGRESS = "IN_PROGRESS", _("Drawing")
        SUCCESS = "SUCCESS", _("Done")
        FAILED = "FAILED", _("Failed")
        CANCELLED = "CANCELLED", _("Cancelled")

    class Submission(models.TextChoices):
        """How sure we are that fal has the request. UNKNOWN is written before the request
        leaves, so that a crash at any line leads to a question and never to a second copy."""

        UNSENT = "UNSENT", _("Not sent")
        UNKNOWN = "UNKNOWN", _("Unknown")
        ACCEPTED = "ACCEPTED", _("Accepted")

    UNFINISHED = (Status.PENDING, Status.IN_QUEUE, Status.IN_PROGRESS)

    request_id = models.CharField(max_length=255, blank=True, default="")
    model = models.CharField(max_length=100)
    endpoint = models.CharField(
        max_length=150, help_text=_("The endpoint the number of pictures led to.")
    )
    task_type = models.CharField(max_length=20)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.PENDING)
    submission = models.CharField(
        max_length=10, choices=Submission.choices, default=Submission.UNSENT
    )

    # What was asked. `parameters` holds every parameter of the endpoint as it was validated;
    # the columns after it are those of the specification, written once from it.
    parameters = models.JSONField(default=dict)
    input_image_url = models.TextField(blank=True, default="")
    uploaded_image_url = models.TextField(blank=True, default="")
    num_images = models.IntegerField(default=1)
    aspect_ratio = models.CharField(max_length=20, blank=True, default="")
    guidance_scale = models.FloatField(null=True, blank=True)
    num_inference_steps = models.IntegerField(null=True, blank=True)
    # Text: fal's seeds are unsigned 64 bit, more than a database integer or a JavaScript
    # number holds.
    seed = models.CharField(max_length=20, blank=True, default="")
    safety_tolerance = models.CharField(max_length=10, blank=True, default="")
    strength = models.FloatField(null=True, blank=True)

    # What came back.
    result_seed = models.CharField(max_length=20, blank=True, default="")
    generation_time = models.FloatField(
        null=True, blank=True, help_text=_("Seconds from acceptance to result.")
    )
    queue_position = models.IntegerField(null=True, blank=True)
    billable_units = models.CharField(
        max_length=32, blank=True, default="", help_text=_("As fal reported them.")
    )
    error_code = models.CharField(max_length=40, blank=True, default="")
    error_message = models.TextField(
        blank=True, default="", help_text=_("What the provider said; for staff.")
    )
    retry_count = models.IntegerField(default=0)
    retry_of = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )

    # Tasks that were asked for together share the name of their comparison. Both may be NULL:
    # workers from before there were these columns insert rows without them.
    comparison = models.CharField(max_length=32, null=True, blank=True, editable=False)  # noqa: DJ001
    comparison_position = models.SmallIntegerField(null=True, blank=True, editable=False)

    # Credits, as whole numbers.
    cost_reserved = models.PositiveIntegerField(default=0)
    cost_charged = models.PositiveIntegerField(default=0)

    # NULL also for the reason of `comparison`.
    refunded_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When staff gave back what it had cost.")
    )

    input_transport = models.CharField(
        max_length=10,
        blank=True,
        default="",
        help_text=_("How its reference pictures were sent last: as addresses or as data."),
    )

    # The name of the web request that asked for it: what workers log of it bears that name. NULL
    # for the same reason as above, and for what no request asked for.
    web_request_id = models.CharField(  # noqa: DJ001
        max_length=request_ids.MAX_LENGTH,
        null=True,
        blank=True,
        help_text=_("The X-Request-ID under which it was asked for; the log has it."),
    )

    idempotency_key = models.CharField(max_length=255, blank=True, default="")
    body_hash = models.CharField(max_length=64, blank=True, default="")

    # When somebody has to look at this task again. A worker that takes it moves the time
    # forward and leaves its token, so the time doubles as a lease: a worker that died simply
    # lets it come round again.
    next_action_at = models.DateTimeField(null=True, blank=True)
    lease_token = models.CharField(max_length=32, blank=True, default="")
    submitted_at = models.DateTimeField(null=True, blank=True)
    accepted_at = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    missing_since = models.DateTimeField(
        null=True, blank=True, help_text=_("Since when the provider denies knowing it.")
    )
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_sent_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    webhook_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When the provider first called about it.")
    )
    late_result_at = models.DateTimeField(
        null=True, blank=True, help_text=_("Since when a result is known that came too late.")
    )
    recover_requested_at = models.DateTimeField(
        null=True, blank=True, help_text=_("Since when its late result is being asked for.")
    )

    objects = FluxTaskQuerySet.as_manager()

    class Meta:
        db_table = "flux_tasks"
        verbose_name = _("FLUX task")
        verbose_name_plural = _("FLUX tasks")
        ordering: ClassVar = ["-created_at", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["user", "-created_at", "-id"], name="idx_flux_tasks_user_id"),
            models.Index(fields=["status"], name="idx_flux_tasks_status"),
            models.Index(fields=["request_id"], name="idx_flux_tasks_request_id"),
            models.Index(fields=["-created_at", "-id"], name="idx_flux_tasks_created_at"),
            *_history_indexes("flux_tasks"),
            # Only the first is looked for; the others spare live.py the tasks themselves. Nearly
            # every write moves the first anyway, so they cost next to none of their own.
            models.Index(
                fields=["next_action_at", "id", "user", "updated_at"],
                condition=Q(next_action_at__isnull=False),
                name="idx_flux_tasks_due",
            ),
            # What an hour brought is counted by when its tasks ended.
            models.Index(
                fields=["completed_at"],
                condition=Q(completed_at__isnull=False),
                name="idx_flux_tasks_ended",
            ),
        ]
        constraints: ClassVar = [
            _imported_once("flux_tasks"),
            models.UniqueConstraint(
                fields=["user", "idempotency_key"],
                condition=~Q(idempotency_key=""),
                name="flux_tasks_one_per_idempotency_key",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["PENDING", "CANCELLED", "FAILED"])
                | Q(submission="ACCEPTED"),
                name="flux_tasks_progress_needs_acceptance",
            ),
            models.CheckConstraint(
                condition=~Q(submission="ACCEPTED") | ~Q(request_id=""),
                name="flux_tasks_acceptance_has_request_id",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["PENDING", "IN_QUEUE", "IN_PROGRESS"])
                | Q(completed_at__isnull=False),
                name="flux_tasks_an_end_has_a_time",
            ),
        ]

    @property
    def is_finished(self) -> bool:
        return self.status not in self.UNFINISHED

    @property
    def is_followed(self) -> bool:
        """Whether a sweep has something to do for it."""
        return not self.is_finished or self.recover_requested_at is not None

    @property
    def display_model(self) -> catalogue.Model | None:
        return catalogue.find_model(self.model)


class TaskInput(models.Model):
    """A picture a task starts from, in the order the member gave."""

    task = models.ForeignKey(FluxTask, models.CASCADE, related_name="inputs", db_index=False)
    position = models.PositiveSmallIntegerField()
    upload = models.ForeignKey("Upload", models.PROTECT, null=True, related_name="+")
    image = models.ForeignKey("TaskImage", models.PROTECT, null=True, related_name="+")

    class Meta:
        db_table = "flux_task_inputs"
        ordering: ClassVar = ["position"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["task", "position"], name="flux_task_inputs_order"),
            models.CheckConstraint(
                condition=Q(upload__isnull=True) ^ Q(image__isnull=True),
                name="flux_task_inputs_one_picture",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} #{self.position}"

    @property
    def picture(self) -> Upload | TaskImage:
        picture = self.upload or self.image
        assert picture is not None  # noqa: S101 - held by a check constraint
        return picture


class ForeignTask(ImageTask):
    """What the task tables of the two other painters share."""

    status = models.CharField(max_length=20, default="SUBMITTED")
    credits_cost = models.IntegerField(default=0)
    submit_time = models.DateTimeField(null=True, blank=True)
    start_time = models.DateTimeField(null=True, blank=True)
    finish_time = models.DateTimeField(null=True, blank=True)
    progress = models.CharField(max_length=20, blank=True, default="0%")
    fail_reason = models.TextField(blank=True, default="")
    properties = models.JSONField(default=dict, blank=True)

    class Meta:
        abstract = True
        ordering: ClassVar = ["-created_at", "-id"]


def _indexes_of(table: str) -> list[models.Index]:
    return [
        models.Index(fields=["user", "-created_at", "-id"], name=f"idx_{table}_user_id"),
        models.Index(fields=["status", "updated_at"], name=f"idx_{table}_status"),
        *_history_indexes(table),
    ]


class MidjourneyTask(ForeignTask):
    """A Midjourney task as the `mj_tasks` table of the specification has it."""

    model = models.CharField(max_length=100, blank=True, default="midjourney")
    action = models.CharField(max_length=50, blank=True, default="IMAGINE")
    prompt_en = models.TextField(blank=True, default="")
    description = models.TextField(blank=True, default="")
    mode = models.CharField(max_length=50, blank=True, default="fast")
    buttons = models.JSONField(default=list, blank=True)
    parent_task_id = models.CharField(max_length=50, blank=True, default="")

    class Meta(ForeignTask.Meta):
        db_table = "mj_tasks"
        verbose_name = _("Midjourney task")
        verbose_name_plural = _("Midjourney tasks")
        indexes: ClassVar = _indexes_of("mj_tasks")
        constraints: ClassVar = [_imported_once("mj_tasks")]


class JimengTask(ForeignTask):
    """A Jimeng 即梦 task as the `dreamwork_tasks` table of the specification has it."""

    model = models.CharField(max_length=100, blank=True, default="")
    action = models.CharField(max_length=50, blank=True, default="TEXT_TO_IMAGE")
    size = models.CharField(max_length=50, blank=True, default="")
    guidance_scale = models.FloatField(null=True, blank=True)
    seed = models.CharField(max_length=20, blank=True, default="")
    watermark = models.BooleanField(default=False)
    input_image = models.TextField(blank=True, default="")

    class Meta(ForeignTask.Meta):
        db_table = "dreamwork_tasks"
        verbose_name = _("Jimeng task")
        verbose_name_plural = _("Jimeng tasks")
        indexes: ClassVar = _indexes_of("dreamwork_tasks")
        constraints: ClassVar = [_imported_once("dreamwork_tasks")]


# ---------------------------------------------------------------- pictures
class Picture(models.Model):
    """A picture with an address of its own: `/media/<id>`, valid for ever.

    The row holds storage keys, never addresses that expire. `width` and `height` are pixels
    as displayed.
    """

    id = models.CharField(primary_key=True, max_length=32, default=new_id, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", db_index=False
    )
    storage_key = models.CharField(max_length=200, blank=True, default="")
    content_type = models.CharField(max_length=30, blank=True, default="")
    width = models.PositiveIntegerField(null=True, blank=True)
    height = models.PositiveIntegerField(null=True, blank=True)
    byte_size = models.PositiveBigIntegerField(null=True, blank=True)
    thumbnails_size = models.PositiveIntegerField(
        null=True, blank=True, help_text=_("Bytes of its thumbnails together.")
    )
    sha256 = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.pk

    @property
    def url(self) -> str:
        return self.url_of(self.pk)

    @staticmethod
    def url_of(pk: str) -> str:
        return f"/media/{pk}"

    def thumbnail_url(self, width: int) -> str:
        return f"/media/{self.pk}/{width}"

    def thumbnail_key(self, width: int) -> str:
        """Return the storage key of the WebP thumbnail of that width, beside the original."""
        return f"{self.storage_key.rpartition('.')[0]}-{width}.webp"


class TaskImageQuerySet(models.QuerySet["TaskImage"]):
    def of_tasks(self, *, source: str, ids: Iterable[str]) -> TaskImageQuerySet:
        return self.filter(source=source, task_id__in=list(ids)).order_by("task_id", "position")

    def add(self, images: Iterable[TaskImage]) -> None:
        """Write down pictures, in a transaction of the caller's.

        The same as `bulk_create`, in SQL for the same reason as FluxTaskQuerySet.change_one.
        """
        connection = connections[self.db]
        fields = self.model._meta.concrete_fields
        rows = [
            [_adapted(getattr(image, field.attname), connection) for field in fields]
            for image in images
        ]
        columns = ", ".join(str(field.column) for field in fields)
        places = ", ".join(["%s"] * len(fields))
        sql = f"INSERT INTO task_images ({columns}) VALUES ({places})"  # noqa: S608
        with connection.cursor() as cursor:
            cursor.executemany(sql, rows)

    def to_store(self, *, now: datetime) -> TaskImageQuerySet:
        return self.filter(stored_at=None, next_action_at__lte=now)


class TaskImage(Picture):
    """One picture of a task. It names its task by source and id, not by a foreign key,
    because the task may be in any of three tables."""

    class Source(models.TextChoices):
        FLUX = "flux", "FLUX"
        MIDJOURNEY = "midjourney", "Midjourney"
        JIMENG = "jimeng", "Jimeng 即梦"

    source = models.CharField(max_length=20, choices=Source.choices)
    task_id = models.CharField(max_length=255)
    position = models.PositiveSmallIntegerField()
    provider_url = models.TextField(blank=True, default="")
    is_nsfw = models.BooleanField(default=False)
    stored_at = models.DateTimeField(null=True, blank=True)
    storing_since = models.DateTimeField(
        null=True, blank=True, help_text=_("Since when a worker has the job of saving it.")
    )
    lost_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When it was given up, and its credits given back.")
    )
    store_attempts = models.PositiveSmallIntegerField(default=0)
    store_error = models.TextField(blank=True, default="")
    next_action_at = models.DateTimeField(null=True, blank=True)

    objects = TaskImageQuerySet.as_manager()

    class Meta:
        db_table = "task_images"
        verbose_name = _("picture")
        verbose_name_plural = _("pictures")
        indexes: ClassVar = [
            models.Index(fields=["user", "-created_at"], name="idx_task_images_user"),
            models.Index(
                fields=["next_action_at"],
                condition=Q(stored_at__isnull=True),
                name="idx_task_images_to_store",
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["source", "task_id", "position"], name="task_images_one_per_position"
            ),
            models.CheckConstraint(
                condition=Q(stored_at__isnull=True) | ~Q(storage_key=""),
                name="task_images_stored_has_key",
            ),
        ]


class Upload(Picture):
    """A reference picture a member brought: checked, turned upright, free of metadata.

    `sha256` is of the stored file, `pixel_hash` of what it shows: the same picture in another
    file is the same upload."""

    pixel_hash = models.CharField(max_length=64)

    class Meta:
        db_table = "flux_uploads"
        verbose_name = _("upload")
        verbose_name_plural = _("uploads")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["user", "pixel_hash"], name="flux_uploads_one_per_content"
            ),
        ]


class StorageUse(models.Model):
    """What a member's pictures take in our storage, as counted at `counted_at`
    (generation/housekeeping.py). Bytes include thumbnails."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        primary_key=True,
        related_name="+",
        verbose_name=_("member"),
    )
    pictures = models.PositiveIntegerField(_("pictures"), default=0)
    uploads = models.PositiveIntegerField(_("uploads"), default=0)
    byte_size = models.PositiveBigIntegerField(_("bytes"), default=0)
    counted_at = models.DateTimeField(_("counted"))

    class Meta:
        db_table = "storage_use"
        verbose_name = verbose_name_plural = _("storage used")
        ordering: ClassVar = ["-byte_size"]

    def __str__(self) -> str:
        return str(self.user)


class PresetQuerySet(models.QuerySet["Preset"]):
    def kept(self) -> PresetQuerySet:
        return self.filter(deleted_at=None)

    def visible_to(self, user: Any) -> PresetQuerySet:
        """A member's own, and what staff shares with everybody."""
        return self.kept().filter(Q(owner=user) | Q(is_shared=True))


class Preset(models.Model):
    """A set of parameters a member saved under a name (generation/presets.py). What is deleted
    can be brought back for a while: `deleted_at`."""

    MAX_NAME_LENGTH = 60

    id = models.CharField(primary_key=True, max_length=32, default=new_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="+",
        db_index=False,
        verbose_name=_("owner"),
    )
    name = models.CharField(_("name"), max_length=MAX_NAME_LENGTH)
    is_shared = models.BooleanField(
        _("shared"), default=False, help_text=_("Everybody sees it and may use it.")
    )
    model = models.CharField(_("model"), max_length=100)
    parameters = models.JSONField(_("parameters"), default=dict, blank=True)
    prompt = models.TextField(_("prompt"), blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = PresetQuerySet.as_manager()

    class Meta:
        db_table = "flux_presets"
        verbose_name = _("preset")
        verbose_name_plural = _("presets")
        ordering: ClassVar = ["name", "id"]
        indexes: ClassVar = [
            models.Index(fields=["owner"], name="idx_flux_presets_owner"),
            models.Index(
                fields=["name"],
                condition=Q(is_shared=True, deleted_at__isnull=True),
                name="idx_flux_presets_shared",
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["owner", "name"],
                condition=Q(deleted_at__isnull=True),
                name="flux_presets_one_per_name",
                violation_error_message=_("You have a preset of this name."),
            ),
            models.CheckConstraint(condition=~Q(name=""), name="flux_presets_have_a_name"),
        ]

    def __str__(self) -> str:
        return self.name


class RateWindow(models.Model):
    """How often a member did something in one window of time (generation/rates.py)."""

    scope = models.CharField(max_length=30)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False
    )
    begins_at = models.DateTimeField()
    count = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "rate_windows"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["user", "scope", "begins_at"], name="rate_windows_one_per_window"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.begins_at}"


class TypicalSeconds(models.Model):
    """How long an endpoint takes here, as measured at `measured_at` (generation/pace.py)."""

    endpoint = models.CharField(primary_key=True, max_length=150)
    seconds = models.FloatField(help_text=_("The middle of the last tasks."))
    tasks = models.PositiveIntegerField(help_text=_("How many tasks that is the middle of."))
    measured_at = models.DateTimeField()

    class Meta:
        db_table = "flux_typical_seconds"

    def __str__(self) -> str:
        return f"{self.endpoint}: {self.seconds:.1f} s"


# ---------------------------------------------------------------- work
class SweepLease(models.Model):
    """Who sweeps at the moment: one row, taken and renewed by conditional updates."""

    name = models.CharField(primary_key=True, max_length=30)
    holder = models.CharField(max_length=32, blank=True, default="")
    expires_at = models.DateTimeField()
    called_at = models.DateTimeField(
        null=True, help_text=_("When a sweep was last called that has not begun yet.")
    )

    class Meta:
        db_table = "sweep_leases"

    def __str__(self) -> str:
        return self.name
