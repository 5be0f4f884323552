"""Who decided, in a field of its own; earlier rows say it only in the reason of the experiment."""

from typing import Any

from django.db import migrations, models

PREFIX, SEPARATOR = "Decided by ", ": "


def name_people(apps: Any, schema_editor: Any) -> None:
    decisions = apps.get_model("recommender", "Decision").objects.filter(
        final=True, decided_by="", experiment__reason__startswith=PREFIX
    )
    for decision in decisions.select_related("experiment").iterator():
        name, found, _ = decision.experiment.reason.removeprefix(PREFIX).partition(SEPARATOR)
        if found:
            decision.decided_by = name[:150]
            decision.save(update_fields=["decided_by"])


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0031_experiment_notes'),
    ]

    operations = [
        migrations.AddField(
            model_name='decision',
            name='decided_by',
            field=models.CharField(blank=True, db_default='', default='', help_text='The user who ended the experiment; empty: the rules decided.', max_length=150),
        ),
        migrations.RunPython(name_people, migrations.RunPython.noop),
    ]
