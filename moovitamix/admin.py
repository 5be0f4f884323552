"""Admin pages of third-party models in Unfold's style, and the song page with data from both apps."""

from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as PlainGroupAdmin
from django.contrib.auth.admin import UserAdmin as PlainUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django_celery_beat.admin import ClockedScheduleAdmin as PlainClockedScheduleAdmin
from django_celery_beat.admin import CrontabScheduleAdmin as PlainCrontabScheduleAdmin
from django_celery_beat.admin import PeriodicTaskAdmin as PlainPeriodicTaskAdmin
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from django_celery_results.admin import TaskResultAdmin as PlainTaskResultAdmin
from django_celery_results.models import GroupResult, TaskResult
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminTextInputWidget

from ingestion.admin import ROWS_PER_PAGE, ReadOnlyAdmin
from ingestion.admin.catalogue import SongAdmin
from ingestion.models import Song
from moovitamix.dashboard.queries import SCHEDULE_TITLES
from recommender.admin.monitoring import song_evidence_for

admin.site.index_title = "Overview"
for model in (User, Group, PeriodicTask, IntervalSchedule, CrontabSchedule, SolarSchedule, ClockedSchedule,
              TaskResult, GroupResult, Song):  # fmt: skip
    admin.site.unregister(model)


@admin.register(User)
class UserAdmin(PlainUserAdmin, ModelAdmin):  # type: ignore[type-arg]
    form = UserChangeForm
    list_per_page = ROWS_PER_PAGE
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(PlainGroupAdmin, ModelAdmin):
    pass


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(PlainPeriodicTaskAdmin, ModelAdmin):
    list_before_template = "admin/about_schedules.html"
    list_display = ("title", "enabled", "scheduler", "description", "last_run_at")
    date_hierarchy = None

    @display(description="Task", ordering="name")
    def title(self, entry: Any) -> str:
        return str(SCHEDULE_TITLES.get(entry.name, entry.name))


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(ModelAdmin):
    pass


class TimeZoneNameField(forms.CharField):
    """A time zone as a text field: a select of all 600 zones made the page three times slower."""

    widget = UnfoldAdminTextInputWidget

    def clean(self, value: Any) -> ZoneInfo:
        name = super().clean(value)
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            message = f"There is no time zone {name}. Enter a name such as Europe/Paris or UTC."
            raise ValidationError(message) from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(str(initial), data)


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(PlainCrontabScheduleAdmin, ModelAdmin):
    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        if db_field.name != "timezone":
            return super().formfield_for_dbfield(db_field, request, **options)
        return TimeZoneNameField(initial=settings.TIME_ZONE, help_text="Name such as Europe/Paris or UTC.")


@admin.register(SolarSchedule)
class SolarScheduleAdmin(ModelAdmin):
    pass


@admin.register(ClockedSchedule)
class ClockedScheduleAdmin(PlainClockedScheduleAdmin, ModelAdmin):
    pass


@admin.register(TaskResult)
class TaskResultAdmin(ReadOnlyAdmin, PlainTaskResultAdmin):
    """Results of Celery tasks; thousands arrive every month, so the list neither counts nor groups them."""

    date_hierarchy = None  # type: ignore[assignment]
    list_filter = (  # type: ignore[assignment]
        "status",
        "date_done",
        ("task_name", admin.AllValuesFieldListFilter),
    )


@admin.register(Song)
class SongWithFeedbackAdmin(SongAdmin):
    """Shows a song also with the clusters that listeners' feedback gives it."""

    change_form_after_template = "recommender/song.html"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        evidence = song_evidence_for(int(object_id)) if object_id.isdecimal() else None
        context = {**(extra_context or {}), "song_evidence": evidence}
        return super().change_view(request, object_id, form_url, context)
