"""The studio: its page, and the fragments it exchanges while it is open.

Every page works before scripts load: forms post and links lead somewhere by themselves. With
htmx the same views answer with the part that changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.http import (
    require_GET,
    require_http_methods,
    require_POST,
    require_safe,
)

from generation import cards as card_building
from generation import (
    catalogue,
    channel,
    comparing,
    composer,
    intake,
    lifecycle,
    live,
    polling,
    rates,
    readiness,
    recent,
    streams,
)
from generation.examples import EXAMPLES
from generation.models import FluxTask, TaskImage
from generation.templatetags.pages import request_channel

PAGE_SIZE = 20
PICTURES_SHOWN = 24
#: Parts of an address that say what stands in the prompt.
WORDS_ASKED_FOR = {"prompt", "like"}
#: More live cards than this are followed in turns: the page asks again with the rest.
MAX_FOLLOWED = 60


def _is_htmx(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true"


def _own_tasks(request: HttpRequest) -> Any:
    return FluxTask.objects.for_user(request.user).prefetch_related(
        "inputs__upload", "inputs__image"
    )


def _own_task(request: HttpRequest, task_id: str) -> FluxTask:
    if not composer.is_id(task_id):
        raise Http404
    task: FluxTask = get_object_or_404(_own_tasks(request), pk=task_id)
    return task


def _with_compared(request: HttpRequest, task: FluxTask) -> list[FluxTask]:
    """Return the task and those it was asked for together with."""
    if not task.comparison:
        return [task]
    # They were created at one moment, and that is indexed.
    together = _own_tasks(request).filter(created_at=task.created_at, comparison=task.comparison)
    return list(together)


def _page_of_tasks(request: HttpRequest, before: str) -> tuple[list[FluxTask], str]:
    """Return a page of tasks, newest first, and the id to go on after, "" at the end. What was
    asked for together stays together."""
    tasks = _own_tasks(request)
    if before:
        last = _own_task(request, before)
        tasks = tasks.filter(
            Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, pk__lt=last.pk)
        )
    found = list(tasks[: PAGE_SIZE + comparing.MOST])
    page = found[:PAGE_SIZE]
    for task in found[PAGE_SIZE:]:
        if not task.comparison or task.comparison != page[-1].comparison:
            break
        page.append(task)
    return page, page[-1].pk if len(found) > len(page) else ""


# ---------------------------------------------------------------- the page
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def studio(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return show_studio(request)
    if "edit" in request.POST:
        state = request_channel(request)
        shown = composer.from_post(request=request, state=state, edit=True)
        return show_studio(request, shown=shown)
    return _create(request)


def show_studio(
    request: HttpRequest,
    *,
    shown: composer.Composer | None = None,
    status: int = 200,
    **more: Any,
) -> HttpResponse:
    """Return the page, with the form as it is `shown`, or as the address asks for it."""
    before, opened = request.GET.get("before", ""), request.GET.get("task", "")
    tasks, following = _page_of_tasks(request, before)
    newest = tasks[0] if tasks and not before else None
    if opened and opened not in [task.pk for task in tasks]:
        tasks[:0] = _with_compared(request, _own_task(request, opened))
    if shown is None:
        shown = composer.from_address(
            request=request, state=request_channel(request), newest=newest
        )
    built = card_building.build(tasks, open_id=opened, typical=shown.typical)
    context = {
        "composer": shown,
        "standing": shown.standing,
        "cards": built,
        "groups": card_building.grouped(built),
        "following": following,
        "asked_for_ideas": "ideas" in request.GET,
        "examples": EXAMPLES if "ideas" in request.GET or not (tasks or before) else (),
        # What the address asks for goes before what the browser remembers.
        "keeps_draft": not shown.words
        and request.method != "POST"
        and not WORDS_ASKED_FOR & request.GET.keys(),
        **more,
    }
    return render(request, "generation/studio.html", context, status=status)


def _create(request: HttpRequest) -> HttpResponse:
    asked = composer.from_post(request=request, state=request_channel(request))
    if not asked.form.is_valid():
        return _refuse(request, asked)
    try:
        tasks = _place(request, asked)
    except channel.ChannelClosed as closed:
        asked.form.add_error(None, _(intake.CLOSED_REASONS[closed.mode]))
        return _refuse(request, asked)
    except lifecycle.CannotPay as error:
        asked.form.add_error(None, _(error.problem.message) % error.problem.params)
        return _refuse(request, asked)
    except rates.TooOften as error:
        asked.form.add_error(None, intake.too_often(error))
        return _refuse(request, asked, status=429, retry_after=error.retry_after)
    except catalogue.InvalidRequest as error:
        # A picture may be gone between the two looks.
        for problem in error.problems:
            asked.form.refuse(problem)
        return _refuse(request, asked)
    if not _is_htmx(request):
        return _to_card(tasks[0])
    # The button names what is left now.
    return _show_created(request, tasks, key=asked.key, composer=asked)


def _place(request: HttpRequest, asked: composer.Composer) -> list[FluxTask]:
    orders = asked.form.orders
    key = composer.idempotency_key(request.POST, orders)
    now = timezone.now()
    if asked.is_comparing:
        return intake.place_together(user=request.user, orders=orders, now=now, idempotency_key=key)
    [order] = orders
    return [intake.place(user=request.user, order=order, now=now, idempotency_key=key)]


def _show_created(request: HttpRequest, tasks: Sequence[FluxTask], **more: Any) -> HttpResponse:
    groups = card_building.grouped(card_building.build(tasks))
    return render(request, "generation/_created.html", {"groups": groups, **more})


def _refuse(
    request: HttpRequest,
    asked: composer.Composer,
    *,
    status: int = 422,
    retry_after: int | None = None,
) -> HttpResponse:
    if _is_htmx(request):
        response = render(request, "generation/_refused.html", {"composer": asked}, status=status)
        response["HX-Retarget"] = "#parameters"
        response["HX-Reswap"] = "outerHTML"
    else:
        asked.repeats_problems = True
        if asked.refusals:
            # A file that was refused has a status of its own, such as 413.
            status, retry_after = asked.refusals[0].status, asked.refusals[0].retry_after
        response = show_studio(request, shown=asked, status=status)
    if retry_after:
        response["Retry-After"] = str(retry_after)
    return response


def _to_card(task: FluxTask) -> HttpResponse:
    return redirect(f"{reverse('generation:studio')}?task={task.pk}#task-{task.pk}")


# ---------------------------------------------------------------- fragments
@login_required
@require_safe
def parameters(request: HttpRequest) -> HttpResponse:
    """Show the settings of a model for a number of pictures, with what was typed so far."""
    images = request.GET.get("images", "0")
    # Short before int(): a text of thousands of digits is an error of its own.
    is_number = images.isascii() and images.isdecimal() and len(images) <= 3
    if not is_number or int(images) > intake.MAX_IMAGE_URLS:
        return HttpResponseBadRequest(_("A whole number is needed."))
    state = request_channel(request)
    if "preset" in request.GET:
        shown = composer.from_preset(
            user=request.user, query=request.GET, images=int(images), state=state
        )
        return render(request, "generation/_parameters_answer.html", {"composer": shown})
    found = composer.from_settings(
        user=request.user, query=request.GET, images=int(images), state=state
    )
    if found is None:
        raise Http404
    return render(request, "generation/_parameters_answer.html", {"composer": found})


@login_required
@require_safe
def cards(request: HttpRequest) -> HttpResponse:
    """Show cards again: those named by `id`, or the page that follows `before`."""
    ids = _followed_ids(request)
    if "id" not in request.GET:
        tasks, following = _page_of_tasks(request, request.GET.get("before", ""))
        return _render_cards(request, tasks, following)
    tasks = list(_own_tasks(request).filter(pk__in=ids))
    if not tasks:
        raise Http404
    if any(task.is_followed for task in tasks):
        polling.kick()
    return _render_cards(request, tasks)


def _followed_ids(request: HttpRequest) -> list[str]:
    return [each for each in request.GET.getlist("id")[:MAX_FOLLOWED] if composer.is_id(each)]


@login_required
@require_GET
def events(request: HttpRequest) -> HttpResponseBase:
    """Tell from now on which of the member's tasks change, and at once how those stand that
    are named by `id` (generation/live.py).

    204: this server holds no streams, or, with Retry-After, as many as it may at the moment.
    The page asks for its cards again and again instead.
    """
    connection = streams.connection_of(request.META)
    if connection is None or not settings.LIVE_STREAMS:
        return HttpResponse(status=204)
    member: Any = request.user
    if not live.pump.has_room(user_id=member.pk):
        return HttpResponse(status=204, headers={"Retry-After": str(live.FULL_RETRY_SECS)})
    response = StreamingHttpResponse(content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    # nginx would collect what we say until there is more of it.
    response["X-Accel-Buffering"] = "no"
    response.streaming_content = live.hand_over(
        connection,
        response=response,
        user_id=member.pk,
        language=get_language() or settings.LANGUAGE_CODE,
        task_ids=_followed_ids(request),
    )
    return response


def _render_cards(
    request: HttpRequest, tasks: Sequence[FluxTask], following: str = ""
) -> HttpResponse:
    built = card_building.build(tasks)
    context = {
        "cards": built,
        "groups": card_building.grouped(built),
        "following": following,
    }
    return render(request, "generation/_cards.html", context)


@login_required
@require_safe
def status(request: HttpRequest) -> HttpResponse:
    """Show what the member has left and has running."""
    standing = readiness.standing(
        user=request.user,
        config=request_channel(request).config,
        balance=lifecycle.balance_of(user=request.user),
    )
    return render(request, "generation/_status.html", {"standing": standing})


@login_required
@require_safe
def prompts(request: HttpRequest) -> HttpResponse:
    """Show the member's latest prompts, to take one up again."""
    return render(request, "generation/_prompts.html", {"prompts": recent.prompts(request.user)})


@login_required
@require_safe
def ideas(request: HttpRequest) -> HttpResponse:
    """Show the examples, also to whom has drawn something."""
    return render(request, "generation/_example_list.html", {"examples": EXAMPLES})


@login_required
@require_safe
def pictures(request: HttpRequest) -> HttpResponse:
    """Show the member's own latest pictures, to pick a reference from."""
    member: Any = request.user
    own = TaskImage.objects.filter(user=member, stored_at__isnull=False)
    latest = own.order_by("-created_at", "position")[:PICTURES_SHOWN]
    return render(request, "generation/_pictures.html", {"pictures": latest})


# ---------------------------------------------------------------- what can be done to a task
@login_required
@require_POST
def cancel(request: HttpRequest, task_id: str) -> HttpResponse:
    task = _own_task(request, task_id)
    # False means that it ended meanwhile; the card tells how, which is all there is to say.
    if lifecycle.cancel(task=task, now=timezone.now()):
        polling.kick_on_commit()
    if not _is_htmx(request):
        return _to_card(task)
    return _render_cards(request, [_own_task(request, task_id)])


@login_required
@require_POST
def retry(request: HttpRequest, task_id: str) -> HttpResponse:
    task = _own_task(request, task_id)
    if not task.is_finished:
        return _refuse_on_card(request, task, [_("The task has not ended yet.")])
    running = _own_tasks(request).unfinished().filter(retry_of=task).first()
    try:
        # A second click while the first one's task still runs means that same task.
        again = running or lifecycle.retry(
            task=task, idempotency_key=_retry_key(request, task), now=timezone.now()
        )
    except channel.ChannelClosed as closed:
        return _refuse_on_card(request, task, [_(intake.CLOSED_REASONS[closed.mode])])
    except lifecycle.CannotPay as error:
        return _refuse_on_card(request, task, [_(error.problem.message) % error.problem.params])
    except rates.TooOften as error:
        return _refuse_on_card(request, task, [intake.too_often(error)])
    except catalogue.InvalidRequest as error:
        return _refuse_on_card(request, task, [_(p.message) % p.params for p in error.problems])
    polling.kick_on_commit()
    if not _is_htmx(request):
        return _to_card(again)
    return _show_created(request, [again])


@login_required
@require_POST
def recover(request: HttpRequest, task_id: str) -> HttpResponse:
    """Ask the provider for the late result of a task that was given up."""
    task = _own_task(request, task_id)
    try:
        # False means that it is being asked for, or never will be; the card tells.
        if lifecycle.recover(task=task, now=timezone.now()):
            polling.kick_on_commit()
    except lifecycle.CannotPay as error:
        return _refuse_on_card(request, task, [_(error.problem.message) % error.problem.params])
    if not _is_htmx(request):
        return _to_card(task)
    return _render_cards(request, [_own_task(request, task_id)])


def _retry_key(request: HttpRequest, task: FluxTask) -> str:
    key = request.POST.get("key", "")
    return f"{key}.retry.{task.pk}" if composer.is_id(key) else ""


def _refuse_on_card(request: HttpRequest, task: FluxTask, problems: Sequence[str]) -> HttpResponse:
    if not _is_htmx(request):
        for problem in problems:
            messages.error(request, problem)
        return _to_card(task)
    context = {"card": card_building.build([task])[0], "problems": problems}
    response = render(request, "generation/_card.html", context, status=422)
    response["HX-Retarget"] = f"#task-{task.pk}"
    response["HX-Reswap"] = "outerHTML"
    return response
