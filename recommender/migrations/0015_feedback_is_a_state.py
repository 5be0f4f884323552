"""The sender's key, withdrawn events and the kind `clear`; ids of events are unique per key."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ingestion', '0011_run_log_and_first_loads'),
        ('recommender', '0014_plain_labels'),
    ]

    operations = [
        migrations.AddField(
            model_name='feedback',
            name='key_id',
            field=models.BigIntegerField(blank=True, help_text='The key that the app used; 0 for staff, empty for events of earlier releases.', null=True, verbose_name='API key ID'),
        ),
        migrations.AddField(
            model_name='feedback',
            name='withdrawn_at',
            field=models.DateTimeField(blank=True, help_text='When the app deleted the event; it no longer counts.', null=True),
        ),
        migrations.AlterField(
            model_name='feedback',
            name='event_id',
            field=models.CharField(help_text='Chosen by the app; an event sent twice counts once.', max_length=64, verbose_name='event ID'),
        ),
        migrations.AlterField(
            model_name='feedback',
            name='kind',
            field=models.CharField(choices=[('like', 'Like'), ('dislike', 'Dislike'), ('skip', 'Skip'), ('listen', 'Listen'), ('wrong_style', 'wrong style'), ('clear', 'Clear')], max_length=11),
        ),
        migrations.AddConstraint(
            model_name='feedback',
            constraint=models.UniqueConstraint(fields=('event_id', 'key_id'), name='feedback_event_id_of_key'),
        ),
    ]
