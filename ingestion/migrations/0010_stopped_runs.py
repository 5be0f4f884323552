"""Add the status of a run that a signal stopped."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ingestion', '0009_repeat_failed_slots'),
    ]

    operations = [
        migrations.AlterField(
            model_name='ingestionrun',
            name='status',
            field=models.CharField(choices=[('running', 'Running'), ('succeeded', 'Succeeded'), ('partial', 'Partial'), ('failed', 'Failed'), ('refused', 'Refused'), ('abandoned', 'Abandoned'), ('stopped', 'Stopped')], default='running', max_length=9),
        ),
    ]
