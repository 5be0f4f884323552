"""Admin pages of schedules and other third-party models, and the song page with data from both apps."""

import json
from datetime import timedelta
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as PlainGroupAdmin
from django.contrib.auth.admin import UserAdmin as PlainUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django_celery_beat.admin import ClockedScheduleAdmin as PlainClockedScheduleAdmin
from django_celery_beat.admin import CrontabScheduleAdmin as PlainCrontabScheduleAdmin
from django_celery_beat.admin import PeriodicTaskAdmin as PlainPeriodicTaskAdmin
from django_celery_beat.admin import PeriodicTaskForm as PlainPeriodicTaskForm
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from django_celery_results.admin import TaskResultAdmin as PlainTaskResultAdmin
from django_celery_results.models import GroupResult, TaskResult
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminTextInputWidget

from ingestion.admin import ROWS_PER_PAGE, ListedLookups, ReadOnlyAdmin
from ingestion.admin.audit import AccountAuditMixin
from ingestion.admin.catalogue import ListenerAdmin, SongAdmin
from ingestion.api.query_params import parse_row_id
from ingestion.due_times import PROBLEMS, find_problem, interval_length
from ingestion.models import Listener, Song
from ingestion.schedules import DAILY_ENTRY, HEARTBEAT_ENTRIES, start_new_slots
from moovitamix.dashboard.formatting import describe_crontab
from moovitamix.dashboard.queries import SCHEDULE_TITLES, schedule_title
from recommender.admin.monitoring import song_evidence_for

SCHEDULE_FIELDS: Final = ("interval", "crontab", "solar", "clocked")
MIN_INGESTION_INTERVAL: Final = timedelta(minutes=1)
# Well below the five minutes of silence after which a worker counts as stopped.
MAX_HEARTBEAT_INTERVAL: Final = timedelta(minutes=2)

admin.site.index_title = _lazy("Overview")
for model in (User, Group, PeriodicTask, IntervalSchedule, CrontabSchedule, SolarSchedule, ClockedSchedule,
              TaskResult, GroupResult, Song, Listener, TOTPDevice):  # fmt: skip
    admin.site.unregister(model)


@admin.register(User)
class UserAdmin(AccountAuditMixin, ListedLookups, PlainUserAdmin, ModelAdmin):  # type: ignore[type-arg]
    form = UserChangeForm
    list_per_page = ROWS_PER_PAGE
    # Django's pairs of lists are wider than a screen, and a screen reader can't read them.
    filter_horizontal = ()
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(AccountAuditMixin, ListedLookups, PlainGroupAdmin, ModelAdmin):
    filter_horizontal = ()

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What goes with the roles, without the links to their permissions: 80 lines that name nothing."""
        deleted, counts, permissions, protected = super().get_deleted_objects(objs, request)
        links = Group.permissions.through._meta.verbose_name_plural
        # What depends on a role is a list after its name.
        roles = [one for one in cast("list[Any]", deleted) if not isinstance(one, list)]
        counts = {name: n for name, n in counts.items() if name != links}
        return roles, counts, permissions, protected


@admin.register(TOTPDevice)
class TwoFactorAdmin(ListedLookups, AccountAuditMixin, ModelAdmin):
    """Admin of authenticator apps. Owners can remove a lost one; nobody sees the secrets."""

    list_display = ("user", "confirmed", "created_at", "last_used_at")
    list_filter = ("confirmed",)
    list_per_page = ROWS_PER_PAGE
    ordering = ("user__username",)
    fields = ("user", "confirmed", "created_at", "last_used_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ScheduledTaskForm(PlainPeriodicTaskForm):
    """Rejects schedules that are never due, and edits that would stop one of MoovitaMix's built-in tasks."""

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean()
        for field, message in _edit_problems(self.initial, data).items():
            self.add_error(field, message)
        return data


def _edit_problems(before: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
    name = before.get("name") or after.get("name", "")
    is_ours, problems = name in SCHEDULE_TITLES, {}
    if is_ours:
        problems = {
            field: _("MoovitaMix finds this task by its {label}: leave {before}.").format(
                label=label, before=before[field]
            )
            for field, label in (("name", "name"), ("task", _("task name")))
            if field in before and field in after and after[field] != before[field]
        }
        problems |= {
            field: _("This task takes no arguments.")
            for field in ("args", "kwargs")
            if field in after and json.loads(after[field])
        }
    chosen = [field for field in SCHEDULE_FIELDS if after.get(field) is not None]
    # The model itself rejects none or several.
    if len(chosen) == 1 and after.get("enabled"):
        fields = (*SCHEDULE_FIELDS, "start_time", "expires", "one_off")
        entry = PeriodicTask(name=name, **{field: after[field] for field in fields if field in after})
        message = _schedule_problem(entry)
        problems |= {chosen[0]: message} if message else {}
    return problems


def _schedule_problem(entry: PeriodicTask) -> str:
    problem = find_problem(entry, timezone.now(), must_repeat=entry.name in SCHEDULE_TITLES)
    if problem:
        return _(PROBLEMS[problem])
    length = interval_length(entry.interval) if entry.interval is not None else None
    if entry.name == DAILY_ENTRY and length and length < MIN_INGESTION_INTERVAL:
        return _("An ingestion can't run more often than once a minute.")
    if entry.name in HEARTBEAT_ENTRIES and (length is None or length > MAX_HEARTBEAT_INTERVAL):
        return _("Choose an interval of at most 2 minutes: otherwise alerts report a stopped worker.")
    return ""


class KeepsOwnTasks(admin.ModelAdmin):  # type: ignore[type-arg]
    """Admin in which the product's own tasks can be disabled, but not deleted."""

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        objects, counts, permissions, protected = super().get_deleted_objects(objs, request)
        for entry in PeriodicTask.objects.filter(name__in=SCHEDULE_TITLES):
            if any(one in (entry, entry.scheduler) for one in objs):
                title = schedule_title(entry)
                protected.append(
                    _("Periodic task: {title}. Disable it instead of deleting it.").format(title=title)
                )
        return objects, counts, permissions, protected


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(ListedLookups, KeepsOwnTasks, PlainPeriodicTaskAdmin, ModelAdmin):
    form = ScheduledTaskForm
    list_before_template = "admin/about_schedules.html"
    # django-celery-beat's own one has an inline script, which the content security policy blocks.
    change_form_template = "admin/change_form.html"
    list_display = ("title", "enabled", "scheduler", "description", "last_run_at")
    date_hierarchy = None

    @display(description=_lazy("Crontab in words"))
    def crontab_translation(self, entry: Any) -> SafeString | str:
        return describe_crontab(entry.crontab) if entry.crontab else ""

    @display(description=_lazy("Schedule"))
    def scheduler(self, entry: Any) -> SafeString | str:
        return describe_crontab(entry.crontab) if entry.crontab else str(entry.scheduler)

    @display(description=_lazy("Task"), ordering="name")
    def title(self, entry: Any) -> str:
        return schedule_title(entry)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if set(form.changed_data) & set(SCHEDULE_FIELDS) and "start_time" not in form.changed_data:
            start_new_slots(timezone.now(), pk=obj.pk)


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if self.errors:
            return data
        kind = self._meta.model.__name__.removesuffix("Schedule").lower()
        edited = self._meta.model(**data)
        users = PeriodicTask.objects.filter(**{kind: self.instance}, enabled=True) if self.instance.pk else []
        for entry in [*users, PeriodicTask()]:
            setattr(entry, kind, edited)
            message = _schedule_problem(entry)
            if message:
                task = schedule_title(entry)
                raise ValidationError(f"{task}: {message}" if task else message)
        return data


class ScheduleAdmin(ListedLookups, KeepsOwnTasks):
    """Admin of a kind of schedule; due times before an edit do not count as missed."""

    form = ScheduleForm

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if form.changed_data:
            start_new_slots(timezone.now(), **{type(obj).__name__.removesuffix("Schedule").lower(): obj})


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(ScheduleAdmin, ModelAdmin):
    pass


class TimeZoneNameField(forms.CharField):
    """A time zone as a text field, because a select of all 600 zones made the page three times slower."""

    widget = UnfoldAdminTextInputWidget

    def clean(self, value: Any) -> ZoneInfo:
        name = super().clean(value)
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            message = _("There is no time zone {name}. Enter a name such as Europe/Paris or UTC.").format(
                name=name
            )
            raise ValidationError(message) from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(str(initial), data)


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(ScheduleAdmin, PlainCrontabScheduleAdmin, ModelAdmin):
    @display(description=_lazy("In words"))
    def human_readable(self, schedule: CrontabSchedule) -> SafeString | str:
        return describe_crontab(schedule)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        if db_field.name != "timezone":
            return super().formfield_for_dbfield(db_field, request, **options)
        return TimeZoneNameField(
            label=_("Time zone"), initial=settings.TIME_ZONE, help_text=_("Name such as Europe/Paris or UTC.")
        )


@admin.register(SolarSchedule)
class SolarScheduleAdmin(ListedLookups, ModelAdmin):
    pass


@admin.register(ClockedSchedule)
class ClockedScheduleAdmin(ListedLookups, PlainClockedScheduleAdmin, ModelAdmin):
    pass


@admin.register(TaskResult)
class TaskResultAdmin(ReadOnlyAdmin, PlainTaskResultAdmin):
    """Results of Celery tasks, too many to be counted or grouped."""

    date_hierarchy = None  # type: ignore[assignment]
    list_filter = (  # type: ignore[assignment]
        "status",
        "date_done",
        ("task_name", admin.AllValuesFieldListFilter),
    )


@admin.register(Listener)
class ListenerWithLinksAdmin(ListenerAdmin):
    """Admin of listeners that leads to the lists, the feedback and the page of a listener."""

    readonly_fields = ("linked_pages",)

    @display(description=_lazy("Pages of this listener"))
    def linked_pages(self, listener: Listener) -> SafeString:
        return _links(
            (_("Listening sessions"), "admin:ingestion_listeninghistory_changelist",
             f"user__id__exact={listener.pk}"),
            (_("Served lists"), "admin:recommender_servedlist_changelist",
             f"listener__id__exact={listener.pk}"),
            (_("Feedback"), "admin:recommender_feedback_changelist", f"listener__id__exact={listener.pk}"),
            (_("Recommendations"), "listen", f"user={listener.pk}"),
            (_("Similar listeners"), "listeners", f"listener={listener.pk}"),
        )  # fmt: skip


@admin.register(Song)
class SongWithFeedbackAdmin(SongAdmin):
    """Admin of songs that also shows in which clusters listeners' feedback puts a song."""

    change_form_after_template = "recommender/song.html"
    readonly_fields = ("linked_pages",)

    @display(description=_lazy("Pages of this song"))
    def linked_pages(self, song: Song) -> SafeString:
        return _links(
            (_("Similar songs"), "songs", f"song={song.pk}"),
            (_("Feedback"), "admin:recommender_feedback_changelist", f"song__id__exact={song.pk}"),
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        song = parse_row_id(object_id)
        evidence = song_evidence_for(song) if song is not None else None
        context = {**(extra_context or {}), "song_evidence": evidence}
        return super().change_view(request, object_id, form_url, context)


def _links(*pages: tuple[str, str, str]) -> SafeString:
    """Links of a title, the name of a view and a query, beside each other."""
    return format_html_join(
        " ", '<a class="mm-link" href="{}?{}">{}</a>',
        ((reverse(view), query, title) for title, view, query in pages),
    )  # fmt: skip
