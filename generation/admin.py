"""Admin: the configuration can be changed, tasks and pictures only looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import Count, F, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from fluxsite.read_only import ReadOnly
from generation import (
    aliases,
    catalogue,
    channel,
    connection_report,
    lifecycle,
    offering,
    polling,
    presets,
)
from generation.models import (
    FluxConfig,
    FluxTask,
    JimengTask,
    MidjourneyTask,
    ModelAlias,
    OfferedModel,
    Preset,
    StorageUse,
    TaskImage,
    TaskInput,
    Upload,
)


# ---------------------------------------------------------------- configuration
class FluxConfigForm(forms.ModelForm):
    new_api_key = forms.CharField(
        label=gettext_lazy("fal key"),
        required=False,
        strip=True,
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=gettext_lazy("Never shown again. Leave empty to keep the key there is."),
    )
    remove_api_key = forms.BooleanField(
        label=gettext_lazy("remove the key"),
        required=False,
        help_text=gettext_lazy("Without a key the site draws with the sandbox, if that runs."),
    )
    default_model = forms.ChoiceField(
        label=gettext_lazy("default model"),
        choices=[(model.id, model.name) for model in catalogue.MODELS],
    )

    class Meta:
        model = FluxConfig
        fields = [
            "enabled",
            "base_url",
            "auth_scheme",
            "webhook_enabled",
            "timeout",
            "max_concurrent_tasks",
            "max_concurrent_per_member",
            "default_model",
        ]

    def clean_base_url(self) -> str:
        base_url: str = self.cleaned_data["base_url"].strip().rstrip("/")
        try:
            parts = urlsplit(base_url)
            plain = parts._replace(netloc=f"{parts.hostname}", query="", fragment="")
            if parts.port:
                plain = plain._replace(netloc=f"{parts.hostname}:{parts.port}")
        except ValueError:
            plain = parts = urlsplit("")
        # What is no plain host and port, such as a password or a fragment, is a mistake here.
        if parts.scheme not in ("http", "https") or not parts.hostname or plain != parts:
            raise forms.ValidationError(_("An address such as https://queue.fal.run is needed."))
        return base_url

    def clean_webhook_enabled(self) -> bool:
        enabled: bool = self.cleaned_data["webhook_enabled"]
        if enabled and not settings.PUBLIC_URL:
            raise forms.ValidationError(
                _("Set PUBLIC_URL first: the provider must be told where to call.")
            )
        return enabled

    def clean_new_api_key(self) -> str:
        key: str = "".join(self.cleaned_data["new_api_key"].split())
        if not key.isascii() or not key.isprintable():
            raise forms.ValidationError(_("A key has letters, digits and a few signs only."))
        return key

    def save(self, commit: bool = True) -> Any:  # noqa: FBT001, FBT002 - Django's signature
        if self.cleaned_data["remove_api_key"]:
            self.instance.set_api_key("")
        elif self.cleaned_data["new_api_key"]:
            self.instance.set_api_key(self.cleaned_data["new_api_key"])
        return super().save(commit=commit)


@admin.register(FluxConfig)
class FluxConfigAdmin(admin.ModelAdmin):
    form = FluxConfigForm
    readonly_fields = ["state", "current_key"]
    fieldsets = [
        (None, {"fields": ["state", "enabled"]}),
        (
            gettext_lazy("Provider"),
            {
                "fields": [
                    "current_key",
                    "new_api_key",
                    "remove_api_key",
                    "base_url",
                    "auth_scheme",
                    "webhook_enabled",
                ]
            },
        ),
        (
            gettext_lazy("Limits"),
            {
                "fields": [
                    "timeout",
                    "max_concurrent_tasks",
                    "max_concurrent_per_member",
                    "default_model",
                ]
            },
        ),
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[Any]:
        test = self.admin_site.admin_view(require_POST(self.test_view))
        return [
            path("default/test/", test, name="generation_fluxconfig_test"),
            *super().get_urls(),
        ]

    def test_view(self, request: HttpRequest) -> HttpResponse:
        """Try the saved address and key out, for nothing, and say what to do next."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        level, text = connection_report.compose()
        self.message_user(request, text, level)
        page = reverse("admin:generation_fluxconfig_change", args=[FluxConfig.PK])
        return HttpResponseRedirect(page)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """There is one row: go straight to it."""
        config = channel.load_config()
        return HttpResponseRedirect(reverse("admin:generation_fluxconfig_change", args=[config.pk]))

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        channel.load_config()
        return super().get_object(request, object_id, from_field)

    def save_model(self, request: HttpRequest, obj: FluxConfig, form: Any, change: bool) -> None:  # noqa: FBT001
        obj.close_breaker()
        super().save_model(request, obj, form, change)
        polling.kick_on_commit()

    @admin.display(description=gettext_lazy("current key"))
    def current_key(self, config: FluxConfig) -> str:
        return config.masked_api_key() or _("none")

    @admin.display(description=gettext_lazy("state"))
    def state(self, config: FluxConfig) -> str:
        texts = {
            "fal": _("Drawing with the provider below."),
            "sandbox": _("No key: drawing with the built-in sandbox."),
            "off": _("Switched off."),
            "not_configured": _("No key and no sandbox: nothing can be drawn."),
            "key_unreadable": _("The stored key cannot be decrypted: enter it again."),
        }
        return texts[channel.current().mode]


# ---------------------------------------------------------------- models
class OfferedModelForm(forms.ModelForm):
    # Not called as the model's own field: the admin takes none with a table of its own.
    kept_to = forms.ModelMultipleChoiceField(
        label=gettext_lazy("groups"),
        queryset=Group.objects.order_by("name"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("Only their members may use it, staff too. None: everybody."),
    )

    class Meta:
        model = OfferedModel
        fields = ["enabled", "label", "position"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["kept_to"] = self.instance.groups.all()


class OfferedModelRow(forms.ModelForm):
    """A row of the list, where labels are in the head of the table."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs["aria-label"] = f"{self.instance}: {field.label}"


@admin.register(OfferedModel)
class OfferedModelAdmin(admin.ModelAdmin):
    """All models of the catalogue: which are offered, to whom, and under which name."""

    form = OfferedModelForm
    list_display = ["__str__", "enabled", "label", "position", "only_for", "prices"]
    list_editable = ["enabled", "label", "position"]
    readonly_fields = ["model_id", "prices"]
    fields = ["model_id", "enabled", "label", "position", "kept_to", "prices"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # A model is an entry of the catalogue.

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[OfferedModel]:
        known = [model.id for model in catalogue.MODELS]
        rows = super().get_queryset(request).filter(pk__in=known).prefetch_related("groups")
        # Once for the page: prices of all models cost one query.
        self.listed = lifecycle.price_list()
        return rows.order_by(F("position").asc(nulls_last=True), "pk")

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        return super().get_changelist_form(request, **{**kwargs, "form": OfferedModelRow})

    def save_model(
        self,
        request: HttpRequest,
        obj: OfferedModel,
        form: Any,
        change: bool,  # noqa: FBT001
    ) -> None:
        super().save_model(request, obj, form, change)
        if "kept_to" in form.cleaned_data:
            obj.groups.set(form.cleaned_data["kept_to"])
        offering.renew()

    @admin.display(description=gettext_lazy("id"))
    def model_id(self, row: OfferedModel) -> str:
        return row.pk

    @admin.display(description=gettext_lazy("groups"))
    def only_for(self, row: OfferedModel) -> str:
        return ", ".join(sorted(group.name for group in row.groups.all())) or _("everybody")

    @admin.display(description=gettext_lazy("credits per picture"))
    def prices(self, row: OfferedModel) -> SafeString:
        model = catalogue.find_model(row.pk)
        if model is None or not settings.CREDITS_ENABLED:
            return format_html("–")
        address = reverse("admin:credits_price_changelist")
        return format_html_join(
            " · ",
            '<a href="{}?q={}">{}</a>',
            ((address, endpoint.id, self.listed[endpoint.id]) for endpoint in model.endpoints),
        )


class ModelAliasForm(forms.ModelForm):
    draws = forms.ChoiceField(label=gettext_lazy("draws with"), required=False)
    edits = forms.ChoiceField(label=gettext_lazy("edits with"), required=False)

    class Meta:
        model = ModelAlias
        fields = ["name", "draws", "edits"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, with_pictures in (("draws", False), ("edits", True)):
            field = self.fields[name]
            default, *others = aliases.choices(with_pictures=with_pictures)
            field.choices = [(default[0], _(default[1])), *others]  # type: ignore[attr-defined]
            if self.instance.pk:
                # Two of them in each row of the list, where labels are in the head of the table.
                field.widget.attrs["aria-label"] = f"{self.instance}: {field.label}"

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if catalogue.find_model(name) is not None:
            raise forms.ValidationError(_("A model of this site is called so itself."))
        return name


@admin.register(ModelAlias)
class ModelAliasAdmin(admin.ModelAdmin):
    """What is meant by the names other software has for models (generation/aliases.py)."""

    form = ModelAliasForm
    list_display = ["name", "draws", "edits"]
    list_editable = ["draws", "edits"]
    fields = ["name", "draws", "edits"]
    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["name"] if obj else []

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        return super().get_changelist_form(request, **{**kwargs, "form": ModelAliasForm})


# ---------------------------------------------------------------- what only happened
class ReadOnlyAdmin(ReadOnly, admin.ModelAdmin):
    """For rows that tell what happened: looked at, searched, never edited."""

    list_select_related = ["user"]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Django would otherwise hide a model from those who may only change it.
        return bool(super().has_view_permission(request, obj))


class TaskInputInline(admin.TabularInline):
    model = TaskInput
    fields = ["position", "link"]
    readonly_fields = ["position", "link"]
    extra = 0
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[TaskInput]:
        return super().get_queryset(request).select_related("upload", "image")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=gettext_lazy("picture"))
    def link(self, item: TaskInput) -> SafeString:
        return thumbnail(item.picture)


def thumbnail(picture: Upload | TaskImage) -> SafeString:
    source = picture.thumbnail_url(320) if picture.storage_key else picture.url
    return format_html(
        '<a href="{}"><img src="{}" width="160" loading="lazy" alt=""></a>', picture.url, source
    )


#: What only a person can decide, and what to do about it, by error code.
NEXT_STEPS = {
    "submit_unknown": gettext_lazy(
        "Nobody knows whether the provider drew it. The credits are back and it is never sent "
        "again by itself. Look at the provider's own list of requests; the member may retry."
    ),
    "timeout": gettext_lazy(
        "The credits are back. The provider may have finished it since: ask for its late result."
    ),
    "request_lost": gettext_lazy(
        "The provider forgot a request it had accepted. The credits are back; tell the provider "
        "if it happens often."
    ),
    "input_image_unreachable": gettext_lazy(
        "The provider could not fetch our picture: check that it can reach this site's storage."
    ),
    "internal": gettext_lazy("An error of this site: the log of that minute names it."),
}


class AttentionFilter(admin.SimpleListFilter):
    """Tasks whose end a person should look at."""

    title = gettext_lazy("needs attention")
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", _("Yes")), ("late", _("A late result is known"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[FluxTask]) -> QuerySet[FluxTask]:
        if self.value() == "yes":
            return queryset.filter(status=FluxTask.Status.FAILED, error_code__in=list(NEXT_STEPS))
        if self.value() == "late":
            return queryset.filter(late_result_at__isnull=False, status=FluxTask.Status.FAILED)
        return queryset


class ErrorCodeFilter(admin.AllValuesFieldListFilter):
    """All there are; no link without words for tasks that have none."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        return (choice for choice in super().choices(changelist) if choice["display"] != "")


#: So many tasks are in memory at a time, however many an action is for.
_CHUNK = 500


def _each(queryset: QuerySet[FluxTask]) -> Iterator[FluxTask]:
    """Yield the tasks of an action, with their members. Which they are is decided at the start:
    an action may move tasks out of its own filter."""
    ids = list(queryset.values_list("pk", flat=True))
    for start in range(0, len(ids), _CHUNK):
        chunk = FluxTask.objects.filter(pk__in=ids[start : start + _CHUNK])
        yield from list(chunk.select_related("user"))


class RefundForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("reason"),
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("The member can read it."),
    )


@admin.register(FluxTask)
class FluxTaskAdmin(ReadOnlyAdmin):
    list_display = [
        "id",
        "user",
        "model",
        "status",
        "submission",
        "error_code",
        "cost",
        "next_step",
        "created_at",
    ]
    list_filter = [
        AttentionFilter,
        ("refunded_at", admin.EmptyFieldListFilter),
        "status",
        "submission",
        "model",
        ("error_code", ErrorCodeFilter),
    ]
    search_fields = ["=id", "=request_id", "=web_request_id", "user__username", "prompt"]
    date_hierarchy = "created_at"
    readonly_fields = ["next_step", "pictures"]
    inlines = [TaskInputInline]
    actions = ["cancel", "recover", "refund"]

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["lease_token", "body_hash"]

    @admin.display(description=gettext_lazy("next step"))
    def next_step(self, task: FluxTask) -> str:
        if task.status != FluxTask.Status.FAILED:
            return ""
        return str(NEXT_STEPS.get(task.error_code, ""))

    @admin.display(description=gettext_lazy("pictures"))
    def pictures(self, task: FluxTask) -> SafeString:
        images = TaskImage.objects.of_tasks(source=TaskImage.Source.FLUX, ids=[task.pk])
        return format_html_join(" ", "{}", ((thumbnail(image),) for image in images))

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("generation.change_fluxtask")

    @admin.display(description=gettext_lazy("credits"), ordering="cost_charged")
    def cost(self, task: FluxTask) -> str:
        return _("refunded") if task.refunded_at else str(task.cost_charged)

    @admin.action(description=gettext_lazy("Cancel the selected tasks"), permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[FluxTask]) -> None:
        now = timezone.now()
        outcomes = [lifecycle.cancel(task=task, now=now) for task in _each(queryset)]
        count, late = outcomes.count(True), outcomes.count(False)
        polling.kick_on_commit()
        messages.success(request, _("Cancelled or asked to stop: %(count)d") % {"count": count})
        if late:
            messages.info(request, _("Had ended already: %(count)d") % {"count": late})

    @admin.action(
        description=gettext_lazy("Ask the provider for late results of the selected tasks"),
        permissions=["cancel"],
    )
    def recover(self, request: HttpRequest, queryset: QuerySet[FluxTask]) -> None:
        now = timezone.now()
        asked, unpaid = 0, 0
        for task in _each(queryset):
            try:
                asked += lifecycle.recover(task=task, now=now)
            except lifecycle.CannotPay:
                unpaid += 1
        polling.kick_on_commit()
        messages.success(request, _("Asked for again: %(count)d") % {"count": asked})
        if unpaid:
            text = _("Members without the credits for their late result: %(count)d")
            messages.warning(request, text % {"count": unpaid})

    def has_refund_permission(self, request: HttpRequest) -> bool:
        return settings.CREDITS_ENABLED and request.user.has_perm("credits.adjust")

    @admin.action(
        description=gettext_lazy("Refund the selected tasks, with a reason"), permissions=["refund"]
    )
    def refund(self, request: HttpRequest, queryset: QuerySet[FluxTask]) -> TemplateResponse | None:
        """Ask for the reason, on a page of its own, then give back what each task cost."""
        form = RefundForm(request.POST if "reason" in request.POST else None)
        if not form.is_valid():
            return self._ask_for_reason(request, queryset, form)
        reason, now = form.cleaned_data["reason"], timezone.now()
        actor = request.user.get_username()
        count = total = missed = 0
        for task in _each(queryset):
            amount = lifecycle.refund(task=task, reason=reason, actor=actor, now=now)
            total += amount
            count += amount > 0
            missed += amount == 0
            if amount:
                words = _("Refunded %(credits)d credits: %(reason)s")
                self.log_change(request, task, words % {"credits": amount, "reason": reason})
        if count:
            text = _("Refunded tasks: %(count)d. Credits given back: %(credits)d")
            messages.success(request, text % {"count": count, "credits": total})
        if missed:
            text = _("Nothing to give back, because free, unfinished or refunded: %(count)d")
            messages.warning(request, text % {"count": missed})
        return None

    def _ask_for_reason(
        self, request: HttpRequest, queryset: QuerySet[FluxTask], form: RefundForm
    ) -> TemplateResponse:
        due = queryset.filter(status=FluxTask.Status.SUCCESS, cost_charged__gt=0, refunded_at=None)
        sums = due.order_by().aggregate(count=Count("pk"), credits=Sum("cost_charged"))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Refund tasks"),
            "opts": self.opts,
            "form": form,
            "sums": sums,
            "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            "select_across": request.POST.get("select_across") == "1",
        }
        return TemplateResponse(request, "admin/generation/fluxtask/refund.html", context)


@admin.register(MidjourneyTask, JimengTask)
class ForeignTaskAdmin(ReadOnlyAdmin):
    list_display = ["id", "user", "model", "status", "created_at"]
    list_filter = ["status"]
    search_fields = ["=id", "user__username", "prompt"]


@admin.register(TaskImage)
class TaskImageAdmin(ReadOnlyAdmin):
    list_display = ["id", "user", "source", "task", "width", "height", "stored_at", "store_error"]
    list_filter = [
        "source",
        "is_nsfw",
        ("stored_at", admin.EmptyFieldListFilter),
        ("lost_at", admin.EmptyFieldListFilter),
    ]
    search_fields = ["=id", "=task_id", "user__username"]
    readonly_fields = ["preview", "task"]
    actions = ["store_again"]

    @admin.display(description=gettext_lazy("task"))
    def task(self, image: TaskImage) -> str:
        names = {"flux": "fluxtask", "midjourney": "midjourneytask", "jimeng": "jimengtask"}
        url = reverse(f"admin:generation_{names[image.source]}_change", args=[image.task_id])
        return format_html('<a href="{}">{}</a>', url, image.task_id)

    @admin.display(description=gettext_lazy("picture"))
    def preview(self, image: TaskImage) -> SafeString:
        return thumbnail(image)

    def has_store_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("generation.change_taskimage")

    @admin.action(
        description=gettext_lazy("Try again to save the selected pictures"), permissions=["store"]
    )
    def store_again(self, request: HttpRequest, queryset: QuerySet[TaskImage]) -> None:
        count = queryset.filter(stored_at=None).update(
            next_action_at=timezone.now(), store_attempts=0
        )
        polling.kick_on_commit()
        messages.success(request, _("Pictures to save again: %(count)d") % {"count": count})


@admin.register(StorageUse)
class StorageUseAdmin(ReadOnlyAdmin):
    """What each member's pictures take, as counted in the night."""

    list_display = ["user", "pictures", "uploads", "size", "counted_at"]
    search_fields = ["user__username"]

    @admin.display(description=gettext_lazy("size"), ordering="byte_size")
    def size(self, use: StorageUse) -> str:
        return filesizeformat(use.byte_size)


class PresetForm(forms.ModelForm):
    class Meta:
        model = Preset
        fields = ["name", "is_shared"]

    def clean_name(self) -> str:
        problems: list[catalogue.Problem] = []
        name = presets.clean_name(self.cleaned_data["name"], problems=problems)
        if problems:
            raise forms.ValidationError([_(p.message) % p.params for p in problems])
        same = Preset.objects.kept().filter(owner_id=self.instance.owner_id, name=name)
        if self.instance.deleted_at is None and same.exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError(_("The member has a preset of this name."))
        return name


@admin.register(Preset)
class PresetAdmin(admin.ModelAdmin):
    """Whose they are and what they hold; staff may share one, rename it or delete it."""

    form = PresetForm
    list_display = ["name", "owner", "model", "is_shared", "created_at", "deleted_at"]
    list_filter = ["is_shared", "model", ("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["owner"]
    search_fields = ["=id", "name", "owner__username"]
    fields = ["name", "owner", "is_shared", "model", "parameters", "prompt", "created_at"]
    readonly_fields = ["owner", "model", "parameters", "prompt", "created_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(Upload)
class UploadAdmin(ReadOnlyAdmin):
    list_display = ["id", "user", "width", "height", "byte_size", "created_at"]
    search_fields = ["=id", "user__username"]
    readonly_fields = ["preview"]

    @admin.display(description=gettext_lazy("picture"))
    def preview(self, upload: Upload) -> SafeString:
        return thumbnail(upload)
