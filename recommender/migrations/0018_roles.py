"""Make the groups viewer, operator and owner, with the permissions of their roles."""

from django.db import migrations

VIEWED = {
    "ingestion": [
        "anomalycheck", "baselinereset", "incident", "ingestionrun", "listener", "listeninghistory",
        "notification", "rejection", "resourcereport", "song", "taskusage",
    ],
    "recommender": [
        "cluster", "clusternamerule", "decision", "driftreport", "engagementday", "experiment", "feedback", "genrealias", "modelversion",
        "nameword",
        "promotion", "servedlist", "songevidence", "trainingrun",
    ],
    "django_celery_beat": [
        "clockedschedule", "crontabschedule", "intervalschedule", "periodictask", "solarschedule",
    ],
    "django_celery_results": ["taskresult"],
}
NAMES = ["clusternamerule", "genrealias", "nameword"]
SCHEDULES = ["crontabschedule", "intervalschedule", "periodictask"]
VIEWER = [(app, model, f"view_{model}") for app, models in VIEWED.items() for model in models]
OPERATOR = [
    *VIEWER,
    ("ingestion", "incident", "handle_incident"),
    ("ingestion", "ingestionrun", "add_ingestionrun"),
    ("recommender", "trainingrun", "add_trainingrun"),
    ("recommender", "experiment", "decide_experiment"),
    ("recommender", "promotion", "add_promotion"),
    *(("django_celery_beat", model, f"{verb}_{model}") for model in SCHEDULES for verb in ("add", "change")),
    *(("recommender", model, f"{verb}_{model}") for model in NAMES for verb in ("add", "change", "delete")),
]
OWNER = [
    *OPERATOR,
    ("ingestion", "listener", "view_personal_data"),
    ("ingestion", "auditentry", "view_auditentry"),
    ("recommender", "servedlist", "add_servedlist"),
    ("recommender", "feedback", "add_feedback"),
    *(("django_celery_beat", model, f"delete_{model}") for model in SCHEDULES),
    *(("recommender", "apikey", f"{verb}_apikey") for verb in ("view", "add", "change")),
    *(("auth", model, f"{verb}_{model}") for model in ("user", "group")
      for verb in ("view", "add", "change", "delete")),
]
ROLES = {"viewer": VIEWER, "operator": OPERATOR, "owner": OWNER}


def make_roles(apps, schema_editor):
    Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    ContentType = apps.get_model("contenttypes", "ContentType")
    for role, wanted in ROLES.items():
        group, _ = Group.objects.get_or_create(name=role)
        for app, model, codename in wanted:
            # A new database has no permissions yet: Django makes the missing ones after the migrations.
            kind, _ = ContentType.objects.get_or_create(app_label=app, model=model)
            permission, _ = Permission.objects.get_or_create(
                content_type=kind, codename=codename,
                defaults={"name": f"Can {codename.replace('_', ' ')}"},
            )
            group.permissions.add(permission)


class Migration(migrations.Migration):

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
        ("django_celery_results", "0014_alter_taskresult_status"),
        ("ingestion", "0011_run_log_and_first_loads"),
        ("recommender", "0017_impressions"),
    ]

    operations = [migrations.RunPython(make_roles, migrations.RunPython.noop, elidable=False)]
