"""Make sessions unique by listener, time and number, without blocking writers; the old rule goes last."""

from django.db import migrations, models

from ingestion.concurrent_constraints import AddUniqueConcurrently, RemoveConstraintIfPresent


class Migration(migrations.Migration):

    # PostgreSQL builds indexes beside writers only outside transactions.
    atomic = False

    dependencies = [
        ('ingestion', '0013_audit_trail'),
    ]

    operations = [
        AddUniqueConcurrently(
            model_name='listeninghistory',
            constraint=models.UniqueConstraint(fields=('user', 'created_at', 'occurrence'), name='listening_history_user_created_at_occurrence'),
        ),
        RemoveConstraintIfPresent(
            model_name='listeninghistory',
            name='listening_history_user_created_at',
        ),
    ]
