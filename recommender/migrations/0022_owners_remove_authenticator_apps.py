"""Let owners see and remove the authenticator apps of users who have lost theirs."""

from django.db import migrations

WANTED = [("otp_totp", "totpdevice", "view_totpdevice"), ("otp_totp", "totpdevice", "delete_totpdevice")]


def allow_owners(apps, schema_editor):
    Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    ContentType = apps.get_model("contenttypes", "ContentType")
    group = Group.objects.filter(name="owner").first()
    for app, model, codename in WANTED if group else ():
        # A new database has no permissions yet: Django makes the missing ones after the migrations.
        kind, _ = ContentType.objects.get_or_create(app_label=app, model=model)
        permission, _ = Permission.objects.get_or_create(
            content_type=kind, codename=codename,
            defaults={"name": f"Can {codename.replace('_', ' ')}"},
        )
        group.permissions.add(permission)


class Migration(migrations.Migration):

    dependencies = [
        ("otp_totp", "0003_add_timestamps"),
        ("recommender", "0021_list_modes"),
    ]

    operations = [migrations.RunPython(allow_owners, migrations.RunPython.noop, elidable=False)]
