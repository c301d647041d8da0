"""Models as staff offer them: on or off, named, ordered, and kept to groups."""

from __future__ import annotations

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, Permission, User
from django.db import connection, transaction
from django.db.models import ProtectedError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from credits import ledger
from credits.models import Price
from generation import catalogue, channel, lifecycle, offering, presets
from generation.models import FluxConfig, FluxTask, OfferedModel
from generation.tests.factories import FluxTaskFactory
from generation.tests.test_lifecycle import place

LIST = "/admin/generation/offeredmodel/"
SCHNELL, DEV, FLUX_2 = "fal-ai/flux-1/schnell", "fal-ai/flux-1/dev", "fal-ai/flux-2"
KONTEXT = "fal-ai/flux-pro/kontext"


@pytest.fixture(autouse=True)
def _names_end_with_the_test():
    yield
    offering.of(FluxConfig())


@pytest.fixture
def offer(db):
    """Return a function that changes what is offered, as the admin does."""

    def change(model_id, *groups, **values):
        row = OfferedModel.objects.get(pk=model_id)
        for name, value in values.items():
            setattr(row, name, value)
        with transaction.atomic():
            row.save()
            row.groups.set(groups)
            offering.renew()

    return change


@pytest.fixture
def testers(alice):
    group = Group.objects.create(name="testers")
    alice.groups.add(group)
    return group


@pytest.fixture
def member(client, alice, drawing):
    client.force_login(alice)
    return client


@pytest.fixture
def api(alice, drawing):
    client = APIClient()
    client.force_authenticate(alice)
    return client


def menu(user):
    return channel.current().offer.menu(user=user)


def ids(user):
    return [model.id for model in menu(user).models]


def draw(api, model, **body):
    return api.post(
        "/api/flux/text-to-image", {"prompt": "a cat", "model": model, **body}, format="json"
    )


# ---------------------------------------------------------------- the offer
def test_without_a_word_of_staff_all_is_offered_to_everybody(alice):
    assert ids(alice) == [model.id for model in catalogue.MODELS]
    assert sorted(OfferedModel.objects.values_list("pk", flat=True)) == sorted(ids(alice))


def test_rows_that_are_not_there_change_nothing(alice, offer):
    offer(DEV, position=1)
    OfferedModel.objects.exclude(pk=DEV).delete()

    assert ids(alice)[0] == DEV
    assert len(ids(alice)) == len(catalogue.MODELS)


def test_a_model_that_is_off_is_offered_to_nobody(alice, staff, offer):
    offer(SCHNELL, enabled=False)

    assert SCHNELL not in ids(alice) + ids(staff)


def test_a_model_kept_to_a_group_is_its_members_alone(alice, bob, staff, offer, testers):
    others = Group.objects.create(name="others")
    offer(SCHNELL, testers, others)

    assert SCHNELL in ids(alice)
    assert SCHNELL not in ids(bob) + ids(staff)


def test_models_stand_in_the_order_staff_gave_them(alice, offer):
    offer(FLUX_2, position=1)
    offer(DEV, position=0)

    others = [m.id for m in catalogue.MODELS if m.id not in (FLUX_2, DEV)]
    assert ids(alice) == [DEV, FLUX_2, *others]


def test_a_group_that_a_model_is_kept_to_cannot_be_deleted(offer, testers, alice, bob):
    offer(SCHNELL, testers)

    with pytest.raises(ProtectedError):
        testers.delete()
    assert SCHNELL not in ids(bob)


# ---------------------------------------------------------------- what a process keeps
def test_reading_the_offer_costs_nothing_until_it_changes(alice, offer):
    channel.current()
    with CaptureQueriesContext(connection) as usual:
        ids(alice)
    offer(SCHNELL, enabled=False)
    with CaptureQueriesContext(connection) as first:
        ids(alice)
    with CaptureQueriesContext(connection) as again:
        ids(alice)

    assert [len(each) for each in (usual, first, again)] == [1, 3, 1]


def test_groups_cost_a_query_only_where_there_are_some(alice, offer, testers):
    offer(SCHNELL, testers)
    channel.current()

    with CaptureQueriesContext(connection) as seen:
        ids(alice)
    assert len(seen) == 2


def test_a_change_of_another_process_is_seen_at_once(alice, offer):
    before = ids(alice)
    # What another process does: this one's memory is not touched.
    OfferedModel.objects.filter(pk=SCHNELL).update(enabled=False)
    FluxConfig.objects.update(models_revision="of-another-process")

    assert SCHNELL in before
    assert SCHNELL not in ids(alice)


def test_a_change_that_is_rolled_back_is_forgotten(alice, offer):
    with transaction.atomic():
        offer(SCHNELL, enabled=False)
        inside = ids(alice)
        transaction.set_rollback(True)

    assert SCHNELL not in inside
    assert SCHNELL in ids(alice)


def test_a_configuration_that_was_read_before_does_not_bring_an_old_offer_back(alice, offer):
    offer(DEV, position=1)
    old = channel.load_config()
    ids(alice)
    offer(SCHNELL, enabled=False)

    old.save()

    assert SCHNELL not in ids(alice)


def test_not_even_one_that_was_read_before_the_first_word_of_staff(alice, offer):
    before_all = channel.load_config()
    offer(SCHNELL, enabled=False)

    before_all.save()

    assert SCHNELL not in ids(alice)


# ---------------------------------------------------------------- names
def test_a_given_name_is_shown_wherever_the_model_is(alice, member, api, offer):
    FluxTaskFactory(user=alice, succeeded=True, model=SCHNELL)
    offer(SCHNELL, label="Sprinter & Co 快")

    page = member.get("/").content.decode()
    found = member.get("/history").content.decode()
    listed = {m["id"]: m["name"] for m in api.get("/api/flux/models").json()["results"]}

    assert '<span class="model-name">Sprinter &amp; Co 快</span>' in page
    assert listed[SCHNELL] == "Sprinter & Co 快"
    assert "Sprinter &amp; Co 快" in found
    assert FluxTask.objects.get().display_model.name == "Sprinter & Co 快"
    offer(SCHNELL, label="")
    assert "Sprinter" not in member.get("/").content.decode()
    assert "Sprinter" not in member.get("/history").content.decode()


# ---------------------------------------------------------------- doors
@pytest.fixture(params=["off", "kept to others"])
def taken_away(request, offer, testers, alice):
    """Return a function that takes a model from Alice."""
    alice.groups.clear()

    def take(model_id):
        if request.param == "off":
            offer(model_id, enabled=False)
        else:
            offer(model_id, testers)

    return take


def test_it_is_not_in_the_picker_nor_in_the_api(member, api, taken_away):
    taken_away(SCHNELL)

    page = member.get("/").content.decode()

    assert f'value="{SCHNELL}"' not in page
    assert f'value="{DEV}"' in page
    assert SCHNELL not in [m["id"] for m in api.get("/api/flux/models").json()["results"]]


def test_an_order_by_api_is_refused_at_its_model_and_costs_nothing(api, alice, taken_away):
    taken_away(SCHNELL)
    before = ledger.account_for(user=alice).credits_balance

    answer = draw(api, SCHNELL)

    assert answer.status_code == 400
    assert answer.json()["errors"] == {
        "model": ["FLUX.1 schnell is not offered to you here. Choose another model."]
    }
    assert FluxTask.objects.count() == 0
    assert ledger.account_for(user=alice).credits_balance == before


def test_the_ids_of_its_endpoints_are_no_way_around(api, taken_away):
    taken_away(KONTEXT)

    answer = draw(api, f"{KONTEXT}/text-to-image")

    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["model"])


def test_an_estimate_names_it_as_a_problem(api, taken_away):
    taken_away(SCHNELL)

    answer = api.post(
        "/api/flux/estimate", {"prompt": "a cat", "model": SCHNELL}, format="json"
    ).json()

    assert [problem["field"] for problem in answer["problems"]] == ["model"]


def test_an_order_without_a_model_takes_the_first_there_is(api, taken_away):
    taken_away(DEV)
    assert channel.load_config().default_model == DEV

    answer = draw(api, None)

    assert answer.status_code == 202
    assert answer.json()["model"] == api.get("/api/flux/models").json()["default"] != DEV


def test_a_form_that_names_it_is_refused_and_no_other_model_draws(member, taken_away):
    taken_away(SCHNELL)

    answer = member.post("/", {"model": SCHNELL, "prompt": "a cat", "num_images": "1"})

    assert answer.status_code == 422
    page = answer.content.decode()
    assert "FLUX.1 schnell is not offered to you here." in page
    assert "a cat" in page
    assert FluxTask.objects.count() == 0


def test_a_comparison_that_names_it_draws_nothing(member, taken_away):
    taken_away(SCHNELL)
    form = {"compare": "1", "models": [SCHNELL, DEV, FLUX_2], "model": DEV, "prompt": "a cat"}

    answer = member.post("/", form)

    assert answer.status_code == 422
    assert "FLUX.1 schnell is not offered to you here." in answer.content.decode()
    assert FluxTask.objects.count() == 0


def test_one_that_is_compared_in_the_lifecycle_itself_takes_none(alice, drawing, taken_away):
    taken_away(SCHNELL)
    requests = [
        catalogue.check(model_id=each, prompt="a cat", images=0, parameters={})
        for each in (DEV, SCHNELL)
    ]

    with pytest.raises(catalogue.InvalidRequest):
        lifecycle.create_together(
            user=alice,
            requests=requests,
            pictures=[],
            now=timezone.now(),
            idempotency_key="k",
            body_hash="h",
        )
    assert FluxTask.objects.count() == 0


def test_its_old_tasks_are_shown_and_used_again_with_another_model(member, alice, taken_away):
    task = FluxTaskFactory(user=alice, succeeded=True, model=SCHNELL, prompt="a red fox")
    taken_away(SCHNELL)

    page = member.get(f"/?like={task.pk}")

    assert page.status_code == 200
    assert page.context["composer"].model.id == DEV
    assert "a red fox" in page.content.decode()
    assert "FLUX.1 schnell" in member.get(f"/?task={task.pk}").content.decode()


def test_an_old_task_cannot_be_asked_for_again_with_it(api, alice, taken_away):
    task = FluxTaskFactory(user=alice, failed=True, model=SCHNELL)
    taken_away(SCHNELL)

    answer = api.post(f"/api/flux/task/{task.pk}/retry")

    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["model"])
    assert FluxTask.objects.count() == 1


def test_a_preset_of_it_says_so_and_brings_the_rest(member, alice, taken_away):
    content = presets.check(user=alice, name="Mine", model_id=SCHNELL, prompt="snow")
    preset = presets.save(user=alice, content=content)
    taken_away(SCHNELL)

    assert "Model no longer offered" in member.get("/presets").content.decode()
    page = member.get(f"/?preset={preset.pk}")
    assert page.context["composer"].model.id == DEV
    assert "The model of this preset is no longer offered here." in page.content.decode()
    assert "snow" in page.content.decode()


def test_a_preset_of_it_is_not_saved(api, taken_away):
    taken_away(SCHNELL)

    answer = api.post("/api/flux/presets", {"name": "Mine", "model": SCHNELL}, format="json")

    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["model"])


def test_what_was_accepted_before_is_drawn(alice, work, taken_away):
    task = place(alice)
    assert task.model == SCHNELL
    taken_away(SCHNELL)

    work()

    task.refresh_from_db()
    assert task.status == "SUCCESS"


def test_an_order_sent_again_under_its_key_is_answered_as_before(api, taken_away):
    first = api.post(
        "/api/flux/text-to-image",
        {"prompt": "a cat", "model": SCHNELL},
        format="json",
        headers={"Idempotency-Key": "k1"},
    )
    taken_away(SCHNELL)

    again = api.post(
        "/api/flux/text-to-image",
        {"prompt": "a cat", "model": SCHNELL},
        format="json",
        headers={"Idempotency-Key": "k1"},
    )

    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


def test_a_member_without_any_model_is_told_so(member, api, offer, staff):
    for model in catalogue.MODELS:
        offer(model.id, enabled=False)

    page = member.get("/")

    assert page.status_code == 200
    assert "is not offered to you here" in page.content.decode()
    assert api.get("/api/flux/models").json() == {"default": None, "results": []}
    assert draw(api, None).status_code == 400
    member.force_login(staff)
    assert f'href="{LIST}"' in member.get("/").content.decode()


# ---------------------------------------------------------------- the admin
@pytest.fixture
def admin(client, staff):
    client.force_login(staff)
    return client


def test_the_admin_lists_all_models_with_price_and_groups(admin, offer, testers, settings):
    settings.CREDITS_ENABLED = True
    Price.objects.update_or_create(key=SCHNELL, defaults={"credits": 77})
    offer(SCHNELL, testers)
    OfferedModel.objects.create(id="fal-ai/gone")

    page = admin.get(LIST).content.decode()

    assert all(model.own_name in page for model in catalogue.MODELS)
    assert f'<a href="/admin/credits/price/?q={SCHNELL}">77</a>' in page
    assert '<td class="field-only_for">testers</td>' in page
    assert "everybody" in page
    assert "fal-ai/gone" not in page


def change_page(model_id):
    return f"{LIST}{quote(model_id)}/change/"


def test_all_of_a_model_is_changed_on_its_page(admin, alice, bob, testers):
    form = {"enabled": "on", "label": " Quick ", "position": "0", "kept_to": [testers.pk]}

    answer = admin.post(change_page(SCHNELL), form)

    assert answer.status_code == 302
    assert (ids(alice)[0], menu(alice).models[0].name) == (SCHNELL, "Quick")
    assert SCHNELL not in ids(bob)
    assert f'value="{testers.pk}" id="id_kept_to_0" checked' in admin.get(
        change_page(SCHNELL)
    ).content.decode().replace("\n", " ")
    admin.post(change_page(SCHNELL), {"enabled": "on", "label": "", "position": ""})
    assert SCHNELL in ids(bob)


def test_switches_names_and_order_are_changed_in_the_list(admin, alice, offer, testers):
    offer(DEV, testers)
    rows = list(admin.get(LIST).context["cl"].result_list)
    form = {
        "form-TOTAL_FORMS": len(rows),
        "form-INITIAL_FORMS": len(rows),
        "_save": "Save",
    }
    for number, row in enumerate(rows):
        form[f"form-{number}-id"] = row.pk
        form[f"form-{number}-label"] = "Zwei" if row.pk == FLUX_2 else ""
        form[f"form-{number}-position"] = "3" if row.pk == FLUX_2 else ""
        if row.pk != SCHNELL:
            form[f"form-{number}-enabled"] = "on"

    answer = admin.post(LIST, form)

    assert answer.status_code == 302
    assert SCHNELL not in ids(alice)
    assert (ids(alice)[0], menu(alice).models[0].name) == (FLUX_2, "Zwei")
    assert list(OfferedModel.objects.get(pk=DEV).groups.all()) == [testers]


@pytest.mark.parametrize(
    ("field", "value"),
    [("label", "x" * 61), ("position", "-1"), ("position", "first"), ("kept_to", "999999")],
)
def test_what_cannot_be_is_refused_at_its_field(admin, field, value):
    form = {"enabled": "on", "label": "", "position": "", field: value}

    answer = admin.post(change_page(SCHNELL), form)

    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == [field]


def test_models_are_neither_added_nor_deleted_there(admin):
    assert admin.get(f"{LIST}add/").status_code == 403
    assert admin.post(change_page(SCHNELL).replace("change", "delete")).status_code == 403


def test_staff_without_the_permission_change_nothing(client, alice):
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_offeredmodel"))
    client.force_login(viewer)

    assert client.post(change_page(SCHNELL), {"label": "Mine"}).status_code == 403
    assert OfferedModel.objects.get(pk=SCHNELL).enabled


@pytest.mark.parametrize("count", [1, 3])
def test_the_list_costs_the_same_queries_however_many_are_kept_to_groups(
    admin, offer, count, django_assert_num_queries
):
    group = Group.objects.create(name="a group")
    for model in catalogue.MODELS[:count]:
        offer(model.id, group)
    channel.current()

    with django_assert_num_queries(7):
        admin.get(LIST)
