"""Make ids of events unique per key: built without blocking writers, before the old rule goes."""

from django.db import migrations, models

from ingestion.concurrent_constraints import AddUniqueConcurrently, AlterFieldInTransaction


class Migration(migrations.Migration):

    # PostgreSQL builds indexes beside writers only outside transactions.
    atomic = False

    dependencies = [
        ('recommender', '0022_owners_remove_authenticator_apps'),
    ]

    operations = [
        AddUniqueConcurrently(
            model_name='feedback',
            constraint=models.UniqueConstraint(fields=('event_id', 'key_id'), name='feedback_event_id_of_key'),
        ),
        AlterFieldInTransaction(
            model_name='feedback',
            name='event_id',
            field=models.CharField(help_text='Chosen by the app; an event sent twice counts once.', max_length=64, verbose_name='event ID'),
        ),
    ]
