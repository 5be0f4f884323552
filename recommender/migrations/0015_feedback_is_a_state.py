"""Add the sender's key, withdrawn events and the kind `clear`; 0023 makes ids of events unique per key."""

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
            name='kind',
            field=models.CharField(choices=[('like', 'Like'), ('dislike', 'Dislike'), ('skip', 'Skip'), ('listen', 'Listen'), ('wrong_style', 'wrong style'), ('clear', 'Clear')], max_length=11),
        ),
    ]
