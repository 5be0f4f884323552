"""The admins of others, in this site's look; and a song's, which both rooms know something of."""

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
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminTextInputWidget

from ingestion.admin import ROWS_PER_PAGE, ReadOnlyAdmin
from ingestion.admin.catalogue import SongAdmin
from ingestion.models import Song
from recommender.admin.monitoring import song_evidence_for

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
    list_before_template = "admin/how_schedules_come.html"


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(ModelAdmin):
    pass


class TimeZoneNameField(forms.CharField):
    """A time zone by its name: a list of all 600 made the page three times slower, and no easier."""

    widget = UnfoldAdminTextInputWidget

    def clean(self, value: Any) -> ZoneInfo:
        name = super().clean(value)
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            said = f"There is no time zone {name}. Write one such as Europe/Paris or UTC."
            raise ValidationError(said) from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(str(initial), data)


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(PlainCrontabScheduleAdmin, ModelAdmin):
    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        if db_field.name != "timezone":
            return super().formfield_for_dbfield(db_field, request, **options)
        return TimeZoneNameField(initial=settings.TIME_ZONE, help_text="A name such as Europe/Paris or UTC.")


@admin.register(SolarSchedule)
class SolarScheduleAdmin(ModelAdmin):
    pass


@admin.register(ClockedSchedule)
class ClockedScheduleAdmin(PlainClockedScheduleAdmin, ModelAdmin):
    pass


@admin.register(TaskResult)
class TaskResultAdmin(ReadOnlyAdmin, PlainTaskResultAdmin):
    """What tasks said at their end; thousands a month, so nothing on its list counts or groups them all."""

    date_hierarchy = None  # type: ignore[assignment]
    list_filter = (  # type: ignore[assignment]
        "status",
        "date_done",
        ("task_name", admin.AllValuesFieldListFilter),
    )


@admin.register(Song)
class SongWithFeedbackAdmin(SongAdmin):
    """A song of the catalogue, with what the recommender knows of it."""

    change_form_after_template = "recommender/song.html"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        heard = song_evidence_for(int(object_id)) if object_id.isdecimal() else None
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "heard": heard})
