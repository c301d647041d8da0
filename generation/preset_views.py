"""Presets on the pages: the studio's menu, which saves what the form shows, and a page of their
own where they are renamed, shared and deleted. All of it works without scripts."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from generation import catalogue, composer, offering, presets, views
from generation.models import Preset
from generation.templatetags.pages import request_channel


class Shown:
    """A preset as the pages show it to a member."""

    def __init__(self, preset: Preset, *, user: Any, menu: offering.Menu) -> None:
        self.preset = preset
        self.is_own = preset.owner_id == user.pk
        model = menu.family(preset.model)
        self.model_name = model.name if model else _("Model no longer offered")

    @property
    def url(self) -> str:
        return f"{reverse('generation:studio')}?preset={self.preset.pk}"

    @property
    def about(self) -> str:
        """Model, shape and whether words come along."""
        parts = [
            self.model_name,
            str(self.preset.parameters.get("aspect_ratio") or ""),
            _("with prompt") if self.preset.prompt else "",
        ]
        return " · ".join(part for part in parts if part)


def _shown(request: HttpRequest) -> list[Shown]:
    user = request.user
    menu = request_channel(request).offer.menu(user=user)
    return [Shown(preset, user=user, menu=menu) for preset in presets.visible_to(user)]


@login_required
@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """Show the presets as the studio's menu has them."""
    return render(request, "generation/_preset_list.html", {"presets": _shown(request)})


@login_required
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    return _show_page(request)


def _show_page(request: HttpRequest, *, status: int = 200, **more: Any) -> HttpResponse:
    shown = _shown(request)
    context = {
        "own": [each for each in shown if each.is_own],
        "shared": [each for each in shown if not each.is_own],
        "deleted": presets.find_deleted(
            user=request.user, preset_id=request.GET.get("deleted", "")
        ),
        "max_length": Preset.MAX_NAME_LENGTH,
        **more,
    }
    return render(request, "generation/presets.html", context, status=status)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def save(request: HttpRequest) -> HttpResponse:
    """Save what the studio's form shows."""
    if request.method != "POST":
        return redirect("generation:studio")
    post = request.POST
    is_fragment = request.headers.get("HX-Request") == "true"
    model = catalogue.family(post.get("model", ""))
    names = {name for endpoint in (model.endpoints if model else ()) for name in endpoint.by_name}
    try:
        content = presets.check(
            user=request.user,
            name=post.get("preset_name", ""),
            model_id=post.get("model", ""),
            parameters={name: post[name] for name in sorted(names) if name in post},
            prompt=post.get("prompt", "") if "preset_prompt" in post else "",
            is_shared="preset_shared" in post,
        )
        preset = presets.save(user=request.user, content=content)
    except catalogue.InvalidRequest as error:
        problems = _in_words(error)
        if is_fragment:
            context = {"problems": problems, "name": post.get("preset_name", "")}
            return render(request, "generation/_preset_save.html", context, status=422)
        for problem in problems:
            messages.error(request, problem)
        return _studio_again(request, status=422, preset_name=post.get("preset_name", ""))
    text = _("“%(name)s” is saved.") % {"name": preset.name}
    if not is_fragment:
        messages.success(request, text)
        return _studio_again(request)
    response = render(request, "generation/_preset_save.html", {"done": text})
    response["HX-Trigger"] = "presets"
    return response


def _studio_again(
    request: HttpRequest, *, status: int = 200, preset_name: str = ""
) -> HttpResponse:
    """Show the studio with all that is in the form: prompt and pictures are in no address."""
    shown = composer.from_post(request=request, state=request_channel(request), edit=True)
    return views.show_studio(request, shown=shown, status=status, preset_name=preset_name)


def _in_words(error: catalogue.InvalidRequest) -> list[str]:
    texts = []
    for problem in error.problems:
        text = _(problem.message) % problem.params
        # Settings are not beside this message, so it names which one is meant.
        parameter = next(
            (
                endpoint.by_name[problem.field]
                for model in catalogue.MODELS
                for endpoint in model.endpoints
                if problem.field in endpoint.by_name
            ),
            None,
        )
        texts.append(f"{_(parameter.label)}: {text}" if parameter else text)
    return texts


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def change(request: HttpRequest, preset_id: str) -> HttpResponse:
    if request.method != "POST":
        # A page that refuses a name has this address, to which language and theme lead back.
        return redirect("generation:presets")
    try:
        presets.change(
            user=request.user,
            preset_id=preset_id,
            name=request.POST.get("name", ""),
            is_shared="shared" in request.POST,
        )
    except presets.PresetGone as gone:
        raise Http404 from gone
    except catalogue.InvalidRequest as error:
        return _show_page(request, status=422, wrong_id=preset_id, problems=_in_words(error))
    messages.success(request, _("The preset is changed."))
    return redirect("generation:presets")


@login_required
@require_POST
def delete(request: HttpRequest, preset_id: str) -> HttpResponse:
    try:
        preset = presets.delete(user=request.user, preset_id=preset_id, now=timezone.now())
    except presets.PresetGone as gone:
        raise Http404 from gone
    return redirect(f"{reverse('generation:presets')}?deleted={preset.pk}")


@login_required
@require_POST
def restore(request: HttpRequest, preset_id: str) -> HttpResponse:
    try:
        preset = presets.restore(user=request.user, preset_id=preset_id)
    except presets.PresetGone as gone:
        raise Http404 from gone
    except catalogue.InvalidRequest as error:
        for problem in _in_words(error):
            messages.error(request, problem)
    else:
        messages.success(request, _("“%(name)s” is back.") % {"name": preset.name})
    return redirect("generation:presets")
