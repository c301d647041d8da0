"""Cards: what they say in every state, and how the page asks about them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from generation import cards
from generation.models import FluxTask, TaskImage
from generation.tests.factories import FluxTaskFactory, TaskImageFactory, UploadFactory

pytestmark = pytest.mark.usefixtures("drawing")


@pytest.fixture
def member(client, alice):
    client.force_login(alice)
    return client


def card(task):
    [built] = cards.build([task])
    return built


# ---------------------------------------------------------------- states
def test_a_waiting_card_tells_its_place_in_line(alice, bob):
    FluxTaskFactory(user=bob)
    mine = FluxTaskFactory(user=alice)

    built = card(mine)

    assert (built.state, built.status_text) == ("waiting", "Queued · #2 (1 of 2 are yours)")
    assert (built.is_live, built.can_cancel) == (True, True)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"submission": "UNKNOWN"}, "Sending"),
        ({"retry_count": 1}, "The provider cannot be reached, still trying"),
        ({"at_provider": True, "queue_position": 3}, "3 ahead at the provider"),
        ({"at_provider": True, "queue_position": 0}, "Next at the provider"),
        ({"at_provider": True, "status": "IN_PROGRESS"}, "Drawing"),
        ({"at_provider": True, "cancel_requested_at": timezone.now()}, "Cancelling"),
    ],
)
def test_an_unfinished_card_says_where_its_task_is(alice, changes, text):
    assert card(FluxTaskFactory(user=alice, **changes)).status_text == text


def test_a_card_is_live_until_its_pictures_are_stored(alice):
    task = FluxTaskFactory(user=alice, succeeded=True)
    picture = TaskImageFactory(
        user=alice, task=task, storage_key="", stored_at=None, next_action_at=timezone.now()
    )
    before = card(task)
    picture.stored_at, picture.storage_key = timezone.now(), "generated/x.png"
    picture.save()

    after = card(task)

    assert (before.state, before.is_live, after.state, after.is_live) == (
        "saving",
        True,
        "done",
        False,
    )
    assert before.version != after.version


def test_a_picture_given_up_does_not_keep_a_card_alive(alice):
    task = FluxTaskFactory(user=alice, succeeded=True)
    TaskImageFactory(user=alice, task=task, storage_key="", stored_at=None)

    built = card(task)

    assert (built.state, built.frames[0].is_saving) == ("done", False)


def test_a_failed_card_says_what_happened_and_what_to_do(alice):
    built = card(FluxTaskFactory(user=alice, failed=True))

    assert built.cause == "The provider failed while drawing this picture."
    assert (built.advice, built.can_retry) == ("Try again in a moment.", True)


def test_a_refused_card_offers_to_edit_and_not_to_retry(alice):
    built = card(FluxTaskFactory(user=alice, failed=True, error_code="content_policy"))

    assert built.can_retry is False


@pytest.mark.parametrize(("who", "seen"), [("alice", False), ("staff", True)])
def test_what_the_provider_said_is_for_staff(client, request, who, seen):
    user = request.getfixturevalue(who)
    FluxTaskFactory(user=user, failed=True, error_message="raw words of the vendor")
    client.force_login(user)

    html = client.get("/").content.decode()

    assert ("raw words of the vendor" in html) is seen
    assert "Nothing was charged." in html


@pytest.mark.parametrize(
    ("ratio", "box"), [("16:9", (824, 464)), ("1:1", (480, 480)), ("9:21", (206, 480))]
)
def test_a_place_has_the_shape_of_the_picture_to_come(alice, ratio, box):
    task = FluxTaskFactory(user=alice, aspect_ratio=ratio, num_images=3)

    frames = card(task).frames

    assert len(frames) == 3
    assert (frames[0].box_width, frames[0].box_height) == box


def test_without_a_ratio_the_shape_is_that_of_the_reference(alice):
    task = FluxTaskFactory(user=alice, aspect_ratio="")
    task.inputs.create(position=0, upload=UploadFactory(user=alice, width=300, height=100))

    frame = card(task).frames[0]

    assert (frame.width, frame.height) == (300, 100)


def test_details_are_what_was_really_used(alice):
    task = FluxTaskFactory(
        user=alice,
        succeeded=True,
        parameters={"num_images": 1, "seed": None, "enable_safety_checker": False},
    )

    details = [(detail.label, detail.value) for detail in card(task).details]

    assert details == [
        ("Model", "FLUX.1 schnell"),
        ("Pictures", "1"),
        ("Seed", "17454220438242315174"),
        ("Safety checker", "no"),
        ("Time", "1.5 s"),
    ]


def test_a_finished_card_has_words_for_a_screen_reader(alice):
    done = FluxTaskFactory(user=alice, succeeded=True, prompt="a cat")
    TaskImageFactory(user=alice, task=done)
    failed = FluxTaskFactory(user=alice, failed=True, prompt="x" * 80)

    assert card(done).announcement == "Done: a cat"
    assert card(failed).announcement == (
        f"{'x' * 59}…: The provider failed while drawing this picture."
    )


# ---------------------------------------------------------------- asking about them
def test_the_page_asks_about_the_cards_it_names(member, alice):
    asked, _other = FluxTaskFactory(user=alice), FluxTaskFactory(user=alice)

    response = member.get("/studio/cards", {"id": asked.pk})

    assert [each.task for each in response.context["cards"]] == [asked]


def test_asking_about_an_unfinished_card_wakes_the_workers(member, alice):
    unfinished = FluxTaskFactory(user=alice)
    finished = FluxTaskFactory(user=alice, failed=True)

    member.get("/studio/cards", {"id": finished.pk})
    before = OrmQ.objects.count()
    member.get("/studio/cards", {"id": unfinished.pk})

    assert (before, OrmQ.objects.count()) == (0, 1)


def test_cards_of_others_are_left_out(member, alice, bob):
    mine, theirs = FluxTaskFactory(user=alice), FluxTaskFactory(user=bob)

    response = member.get("/studio/cards", {"id": [mine.pk, theirs.pk]})

    assert [each.task for each in response.context["cards"]] == [mine]
    assert member.get("/studio/cards", {"id": theirs.pk}).status_code == 404


@pytest.mark.parametrize("value", ["", "none", "\x00", "%00", "f" * 5000])
def test_asking_about_nothing_known_is_not_found(member, value):
    assert member.get("/studio/cards", {"id": value}).status_code == 404


def test_a_trashed_task_is_not_found(member, alice):
    task = FluxTaskFactory(user=alice, trashed_at=timezone.now())

    assert member.get("/studio/cards", {"id": task.pk}).status_code == 404


@pytest.mark.parametrize("count", [1, 3])
def test_cards_take_the_same_queries_for_any_number(
    member, alice, count, django_assert_num_queries
):
    ids = []
    for _ in range(count):
        task = FluxTaskFactory(user=alice, succeeded=True)
        task.inputs.create(position=0, upload=UploadFactory(user=alice))
        drawn = TaskImageFactory(user=alice, task=task)
        waiting = FluxTaskFactory(user=alice)
        waiting.inputs.create(position=0, image=drawn)
        ids += [task.pk, waiting.pk]
    FluxTask.objects.filter(pk__in=ids).update(created_at=timezone.now() - timedelta(minutes=1))
    member.get("/studio/cards", {"id": ids})

    # The session, the member, the tasks, their inputs, uploads and pictures, the sweep's
    # lease, the wake-up, what was drawn, how long models take, and the line.
    with django_assert_num_queries(10):
        response = member.get("/studio/cards", {"id": ids})

    assert len(response.context["cards"]) == 2 * count


def test_the_whole_way_from_click_to_picture(member, work):
    member.post("/", {"model": "fal-ai/flux-1/schnell", "prompt": "灯塔", "num_images": "2"})
    work()

    [done] = member.get("/").context["cards"]

    assert (done.state, len(done.frames)) == ("done", 2)
    thumbnail = member.get(done.frames[0].thumbnail)
    assert thumbnail.getvalue()[8:12] == b"WEBP"
    thumbnail.close()


# ---------------------------------------------------------------- what is done stays as it is
def page(member, language="en"):
    return member.get("/", headers={"Accept-Language": language}).content.decode()


def test_a_card_that_is_done_reads_the_same_every_time_and_in_the_readers_language(member, alice):
    task = FluxTaskFactory(user=alice, succeeded=True, prompt="a <quiet> pier", cost_charged=5)
    TaskImageFactory(user=alice, task=task)

    first, second, chinese = page(member), page(member), page(member, "zh-hans")

    assert first.count("a &lt;quiet&gt; pier") == second.count("a &lt;quiet&gt; pier") > 0
    assert "Use these settings" in second
    assert "Use these settings" not in chinese


def test_a_card_that_is_done_follows_what_becomes_of_its_picture(member, alice):
    task = FluxTaskFactory(user=alice, succeeded=True)
    picture = TaskImageFactory(user=alice, task=task)
    assert f"/media/{picture.pk}/640" in page(member)

    TaskImage.objects.update(
        stored_at=None, storage_key="", next_action_at=None, lost_at=timezone.now()
    )

    assert f"/media/{picture.pk}/640" not in page(member)


def test_only_the_picture_of_the_newest_card_is_asked_for_at_once(member, alice):
    first = TaskImageFactory(user=alice, task=FluxTaskFactory(user=alice, succeeded=True))

    def is_lazy(picture):
        after = page(member).split(f'src="/media/{picture.pk}/640"')[1]
        return 'loading="lazy"' in after.split(">")[0]

    assert not is_lazy(first)
    second = TaskImageFactory(user=alice, task=FluxTaskFactory(user=alice, succeeded=True))
    assert (is_lazy(first), is_lazy(second)) == (True, False)


def test_a_card_that_is_done_opens_and_closes(member, alice):
    task = FluxTaskFactory(user=alice, succeeded=True)
    TaskImageFactory(user=alice, task=task)

    closed = page(member)
    opened = member.get(f"/?task={task.pk}").content.decode()

    assert ("is-open" in closed, "is-open" in opened, "is-open" in page(member)) == (
        *(False, True, False),
    )
