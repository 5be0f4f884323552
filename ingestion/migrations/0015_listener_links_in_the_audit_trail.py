from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ingestion', '0014_unique_sessions'),
    ]

    operations = [
        migrations.AlterField(
            model_name='auditentry',
            name='action',
            field=models.CharField(choices=[('login', 'logged in'), ('login_failed', 'failed to log in'), ('key_made', 'made an API key'), ('key_changed', 'changed an API key'), ('key_revoked', 'revoked an API key'), ('link_made', "made a listener's link"), ('feedback_undone', 'undid the feedback of an API key'), ('account_changed', 'changed a user or role'), ('promoted', 'promoted a model version'), ('rolled_back', 'rolled back to a model version'), ('range_reset', 'reset an expected range'), ('catalogue_reset', 'accepted a reset of the source'), ('personal_data_read', 'read personal data'), ('listener_exported', "exported a listener's data"), ('listener_forgotten', "deleted a listener's data")], max_length=20),
        ),
    ]
