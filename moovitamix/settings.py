"""Settings, read from the environment and `.env`; every default works in a fresh clone."""

import logging
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import global_settings
from django.templatetags.static import static
from django.urls import reverse_lazy
from kombu import Queue

from moovitamix.environment import (
    LOOPBACK_HOSTS,
    Environment,
    find_home,
    is_original_project_file,
    new_database_beside,
    next_redis_database,
)
from moovitamix.security.security_headers import add_static_headers

PACKAGE_DIR = Path(__file__).resolve().parent
CHECKOUT = PACKAGE_DIR.parent
HOME = find_home(CHECKOUT)

TEMPLATES_DIR = PACKAGE_DIR / "templates"

env = Environment(HOME)
DOTENV = env.dotenv

# --- The web ---------------------------------------------------------------------------------------
INSECURE_KEY = "insecure-key-for-this-machine-only-set-SECRET_KEY-before-others-can-reach-it"
SECRET_KEY = env.text("SECRET_KEY") or INSECURE_KEY
DEBUG = env.flag("DEBUG")
ALLOWED_HOSTS = env.string_list("ALLOWED_HOSTS", LOOPBACK_HOSTS)
CSRF_TRUSTED_ORIGINS = env.string_list("CSRF_TRUSTED_ORIGINS")
ROOT_URLCONF = "moovitamix.urls"
WSGI_APPLICATION = "moovitamix.wsgi.application"
CSRF_FAILURE_VIEW = "moovitamix.api.exceptions.permission_denied_page"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
# For a site behind an HTTPS proxy, which must set X-Forwarded-Proto: cookies are sent over HTTPS only.
HTTPS = env.flag("HTTPS")
# Lets a site without TLS answer to other machines.
ALLOW_HTTP = env.flag("ALLOW_HTTP")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
# Half a year; browsers then use HTTPS even for the first request. Prometheus may scrape from this machine.
SECURE_HSTS_SECONDS = 180 * 86_400 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = False  # other sites of the domain may not have TLS
# Subdomains and browsers' preload lists concern the whole domain, which may have other sites.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = ["^metrics$"]
SECURE_REFERRER_POLICY = "same-origin"
# A working day, after which people log in again.
SESSION_COOKIE_AGE = 10 * 3_600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
DEFAULT_EXCEPTION_REPORTER_FILTER = "moovitamix.reporting.error_reports.AddressHidingFilter"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_celery_beat",
    "django_celery_results",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "moovitamix",
    "ingestion",
    "recommender",
]
# After a login that did not start from another page.
LOGIN_REDIRECT_URL = "/"
MIDDLEWARE = [
    "moovitamix.reporting.logs.request_id_middleware",
    "moovitamix.languages.language_middleware",
    # Before any middleware that checks the host, because load balancers send an IP address.
    "moovitamix.operations.health.health_middleware",
    "django.middleware.security.SecurityMiddleware",
    "moovitamix.security.security_headers.security_headers_middleware",
    "moovitamix.api.cors.cors_middleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "moovitamix.security.null_characters.null_character_middleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "moovitamix.security.two_factor.two_factor_middleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "moovitamix.time_zone.bounded_time_zone_middleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "moovitamix.api.rendering.api_response_middleware",
    # Last, as its documentation requires: it answers locked logins.
    "axes.middleware.AxesMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [TEMPLATES_DIR],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
# Enough for a person who mistypes; ten attempts in 15 minutes do not guess a password of 12 characters.
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = ["ip_address", "username"]
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "moovitamix.security.login_protection.login_address"
AXES_ENABLE_ACCESS_FAILURE_LOG = True
AXES_ENABLE_ADMIN = False  # the audit trail shows logins
AXES_VERBOSE = False
# Whoever has set up an authenticator app logs in with a code; with this, all staff must set one up.
REQUIRE_TWO_FACTOR = env.flag("REQUIRE_TWO_FACTOR")
OTP_TOTP_ISSUER = "MoovitaMix"
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
STATIC_URL = "static/"
STATIC_ROOT = env.path("STATIC_ROOT", "") if env.text("STATIC_ROOT") else None
STATICFILES_DIRS = [PACKAGE_DIR / "static"]
# Serves static files from the packages, without collectstatic or a separate web server.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
WHITENOISE_ADD_HEADERS_FUNCTION = add_static_headers
UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "MoovitaMix",
    "SITE_HEADER": "MoovitaMix",
    "SITE_SYMBOL": "graphic_eq",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("logo.svg")},
    ],
    "STYLES": [lambda _request: static("moovitamix.css")],
    "SHOW_VIEW_ON_SITE": False,
    "LOGIN": {"form": "moovitamix.security.login_protection.AuditedLoginForm"},
    "SITE_URL": reverse_lazy("home"),
    "DASHBOARD_CALLBACK": "moovitamix.dashboard.navigation.admin_index",
    "TABS": "moovitamix.dashboard.tabs.admin_tabs",
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": "moovitamix.dashboard.navigation.sidebar_sections",
    },
}

# Number of proxies in front of the site that add the client's address to X-Forwarded-For. The client could
# invent any addresses before those.
PROXY_COUNT = env.integer("PROXY_COUNT", 1 if HTTPS else 0, minimum=0, maximum=10)

# --- The API ---------------------------------------------------------------------------------------
# Requests per second, minute, hour or day; counted per key, and separately for feedback.
# Sites whose pages may call the API with a listener's token, such as https://app.example.org.
CORS_ORIGINS = [origin.rstrip("/") for origin in env.string_list("CORS_ORIGINS")]
API_RATE = env.text("API_RATE", "600/min")
API_FEEDBACK_RATE = env.text("API_FEEDBACK_RATE", "600/min")
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "recommender.api.authentication.KeyAuthentication",
        "recommender.api.authentication.StaffSession",
    ],
    "DEFAULT_PERMISSION_CLASSES": [
        "rest_framework.permissions.IsAuthenticated",
        "recommender.api.permissions.MayUseRoute",
    ],
    "NUM_PROXIES": PROXY_COUNT,
    "DEFAULT_THROTTLE_CLASSES": ["recommender.api.throttling.KeyThrottle"],
    "DEFAULT_RENDERER_CLASSES": [
        "moovitamix.api.rendering.OrjsonRenderer",
        "moovitamix.api.rendering.PageRenderer",
    ],
    "DEFAULT_PARSER_CLASSES": ["moovitamix.api.rendering.OrjsonParser"],
    "DEFAULT_PAGINATION_CLASS": "moovitamix.api.pagination.OrderedCursorPagination",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "moovitamix.api.exceptions.answer_error",
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "MoovitaMix",
    "VERSION": "1",
    "DESCRIPTION": "Songs, listeners and recommendations, each with the reason why it was chosen.",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SERVE_INCLUDE_SCHEMA": False,
    "AUTHENTICATION_WHITELIST": ["recommender.api.authentication.KeyAuthentication"],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "PATH_CONVERTER_OVERRIDES": {"id": {"type": "integer", "format": "int64"}},
    # Swagger UI from a package, not from a CDN.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"persistAuthorization": False, "validatorUrl": None},
    "ENUM_NAME_OVERRIDES": {
        "FeedbackKindEnum": "recommender.models.Feedback.Kind",
        "ExperimentKindEnum": "recommender.models.Experiment.Kind",
    },
    "GET_LIB_DOC_EXCLUDES": "moovitamix.api.schema.undocumented_classes",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "moovitamix.api.schema.add_error_responses",
        "moovitamix.api.schema.close_bodies",
    ],
}

# --- The data --------------------------------------------------------------------------------------
DATABASES: dict[str, dict[str, Any]] = {
    "default": {"OPTIONS": {}, **env.database_settings(), "CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}
}
# A statement of a web request that takes longer is cancelled; applied by wsgi.py, on PostgreSQL only.
WEB_STATEMENT_SECONDS = env.number("WEB_STATEMENT_SECONDS", 30, minimum=1, maximum=3_600)
# A database of the original project is never written: ours is a new file beside it, which stays in use if
# the old one is removed.
ORIGINAL_DATABASE: Path | None = None
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    _named = Path(DATABASES["default"]["NAME"])
    if is_original_project_file(_named):
        ORIGINAL_DATABASE = _named
    if ORIGINAL_DATABASE or (not _named.exists() and new_database_beside(_named).exists()):
        DATABASES["default"]["NAME"] = str(new_database_beside(_named))
    # WAL and IMMEDIATE: concurrent writers got no "database is locked" in 8 s; with the defaults, 2 923.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Only its own user can read the files that MoovitaMix creates: databases, models, messages.
os.umask(env.octal("UMASK", "077"))
VAR_DIR = env.path("VAR_DIR", "var")
STAGING_DIR = env.path("STAGING_DIR", str(VAR_DIR / "staging"))
# On S3: its bucket and prefix. MODEL_STORAGE is then the folder of this machine's copies, which are mapped.
MODEL_BUCKET = env.s3_location("MODEL_STORAGE")
if MODEL_BUCKET is None:
    MODEL_STORAGE = env.path("MODEL_STORAGE", str(VAR_DIR / "models"))
else:
    MODEL_STORAGE = VAR_DIR / "model-copies"
    STORAGES = {
        **global_settings.STORAGES,
        "models": {
            "BACKEND": "moovitamix.backends.s3_models.S3ModelStorage",
            "OPTIONS": {"bucket_name": MODEL_BUCKET[0], "location": MODEL_BUCKET[1]},
        },
    }

# --- Time and language -----------------------------------------------------------------------------
USE_TZ = True
TIME_ZONE = env.time_zone("TIME_ZONE", "UTC")
IS_TIME_ZONE_SET = bool(env.text("TIME_ZONE"))
LANGUAGE_CODE = env.choice("LANGUAGE_CODE", "en", ("en", "fr"))
IS_LANGUAGE_SET = bool(env.text("LANGUAGE_CODE"))
# A page or list is in the first of these that its reader accepts, otherwise in LANGUAGE_CODE.
LANGUAGES = [("en", "English"), ("fr", "Français")]
FORMAT_MODULE_PATH = ["moovitamix.formats"]
# Before the catalogues of packages, so that ours can correct their French.
LOCALE_PATHS = [PACKAGE_DIR / "locale"]
SCHEDULED_TIME = env.time_of_day("SCHEDULED_TIME", "02:00")

# --- The source ------------------------------------------------------------------------------------
BASE_URL = env.url("BASE_URL", "http://127.0.0.1:8001", ("http", "https"), required=True)
# Only for HTTPS, because the variables may name files that do not exist.
SOURCE_CA_FILE = env.ca_certificates() if BASE_URL.startswith("https://") else ""
SOURCE_TOKEN = env.text("SOURCE_TOKEN")
SOURCE_TIME_ZONE = env.time_zone("SOURCE_TIME_ZONE", "UTC")
SOURCE_MAX_RESPONSE_MB = env.integer("SOURCE_MAX_RESPONSE_MB", 32, minimum=1, maximum=4096)
SOURCE_CONNECTIONS = env.integer("SOURCE_CONNECTIONS", 8, minimum=1, maximum=64)
SOURCE_CONNECT_TIMEOUT = env.number("SOURCE_CONNECT_TIMEOUT", 5, minimum=0.1, maximum=600)
SOURCE_READ_TIMEOUT = env.number("SOURCE_READ_TIMEOUT", 30, minimum=0.1, maximum=3600)
# 0: limited only by SOURCE_PATIENCE.
SOURCE_ATTEMPTS = env.integer("SOURCE_ATTEMPTS", 0, minimum=0, maximum=1000)
SOURCE_PATIENCE = env.number("SOURCE_PATIENCE", 600, minimum=0, maximum=86_400)
HISTORY_RETENTION = env.retention("HISTORY_RETENTION")
# 0: no limit.
MAX_REQUESTS_PER_SECOND = env.number("MAX_REQUESTS_PER_SECOND", 0)

# --- Quality gate ----------------------------------------------------------------------------------
MAX_REJECTED_SHARE = env.share("MAX_REJECTED_SHARE", 0.05)
RESET_GONE_SHARE = env.share("RESET_GONE_SHARE", 0.5)
RESET_CHANGED_SHARE = env.share("RESET_CHANGED_SHARE", 0.2)

# --- Workers ---------------------------------------------------------------------------------------
REDIS_URL = env.url("REDIS_URL", "", ("redis", "rediss"))
# Not the broker's database: whoever empties the cache must not delete waiting tasks.
CACHE_URL = env.url("CACHE_URL", "", ("redis", "rediss")) or next_redis_database(REDIS_URL)
if CACHE_URL:
    CACHES = {
        "default": {
            "BACKEND": "moovitamix.backends.redis_cache.FallbackRedisCache",
            "LOCATION": CACHE_URL,
            # Redis in the same network answers within milliseconds; each request waits for it once.
            "OPTIONS": {"socket_connect_timeout": 0.5, "socket_timeout": 1.0},
        }
    }
CELERY_BROKER_URL = REDIS_URL or "filesystem://"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Imports and trainings wait in queues of their own, so that workers can be dedicated to them: a training
# needs 2 GB of memory. A worker that names no queue takes all of them.
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_QUEUES = [Queue(name) for name in ("default", "ingestion", "training")]
CELERY_TASK_ROUTES = {
    "ingestion.tasks.ingest_*": {"queue": "ingestion"},
    "recommender.tasks.learn_weekly": {"queue": "training"},
    "recommender.tasks.retrain_by_hand": {"queue": "training"},
    "recommender.tasks.check_drift": {"queue": "training"},  # may run a full retrain
}
# A hung task is stopped. An exception ends it first, so that its row says why; a minute later, SIGKILL does.
TASK_HOURS = {
    # A due run is caught up for 12 hours; after that, the next one is near.
    "ingestion.tasks.ingest_due": 12,
    "ingestion.tasks.ingest_by_hand": 12,
    # 1 000 000 plays take a minute; a night is far more than any catalogue that fits into memory.
    "recommender.tasks.learn_weekly": 8,
    "recommender.tasks.retrain_by_hand": 8,
    "recommender.tasks.check_drift": 8,
    # Run every minute: a message waits at most for ten channels with a timeout of 10 s.
    "ingestion.tasks.pulse": 1 / 60,
    "ingestion.tasks.watch": 5 / 60,
}
# Candidate lists, the daily review and deletions: minutes, also for large tables.
OTHER_TASK_HOURS = 2
CELERY_TASK_SOFT_TIME_LIMIT = 3_600 * OTHER_TASK_HOURS
CELERY_TASK_TIME_LIMIT = CELERY_TASK_SOFT_TIME_LIMIT + 60
CELERY_TASK_ANNOTATIONS = {
    name: {"soft_time_limit": round(3_600 * hours), "time_limit": round(3_600 * hours) + 60}
    for name, hours in TASK_HOURS.items()
}
# A message is acknowledged when its task starts, so a task that dies is not delivered again. Imports are
# repeated by their slots, everything else by the timetable.
CELERY_TASK_ACKS_LATE = False
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any]
if REDIS_URL:
    # Redis delivers an unacknowledged message again after this time, which must be longer than the longest
    # task, behind which a message may wait.
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "visibility_timeout": 3_600 * (round(max(TASK_HOURS.values())) + 1),
        "socket_connect_timeout": 2.0,
        "socket_keepalive": True,
        # Whoever sends a task while Redis is away hears so at once. By default, a new connection is tried for
        # 6 s, also by a request for a list.
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.1,
        "interval_max": 0.1,
    }
else:
    # Without Redis, messages are files. One folder for both directions, so that all processes see them.
    BROKER_DIR = env.path("BROKER_DIR", str(VAR_DIR / "broker"))
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(BROKER_DIR / "messages"),
        "data_folder_out": str(BROKER_DIR / "messages"),
        "control_folder": str(BROKER_DIR / "control"),
    }
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXTENDED = True
# Results are deleted by our daily task, not after a day as Celery does by default.
CELERY_RESULT_EXPIRES = 86_400 * env.integer("KEEP_SETTLED_DAYS", 90, minimum=1, maximum=36_500)
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = TIME_ZONE
CELERY_ENABLE_UTC = True
CELERY_TASK_TRACK_STARTED = True
# A process reserves one further message. More would wait behind a long task while other processes are
# idle.
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# One import, one training, and two for what runs every minute: the locks allow no second import or training.
CELERY_WORKER_CONCURRENCY = 4
# In KiB; a process that keeps more memory after a training is replaced.
CELERY_WORKER_MAX_MEMORY_PER_CHILD = 500_000
# 0: one for each processor.
TRAINING_PROCESSES = env.integer("TRAINING_PROCESSES", 0, minimum=0, maximum=1_000)
# Where trainings compute; the last two are only for spark.
ENGINE = env.choice("ENGINE", "local", ("local", "spark"))
SPARK_MASTER = env.text("SPARK_MASTER", "local[*]")
EXPORT_DIR = env.path("EXPORT_DIR", str(VAR_DIR / "exports"))
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULER = "moovitamix.background.beat_scheduler:TimetableScheduler"
# When an entry was sent is written at once: another Beat that takes over must not send it again.
CELERY_BEAT_SYNC_EVERY = 1

# --- Alerts ----------------------------------------------------------------------------------------
ALERT_EMAILS = env.string_list("ALERT_EMAILS")
vars().update(env.email_settings())
EMAIL_TIMEOUT = 10
EMAIL_FROM = DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.text("EMAIL_FROM", "moovitamix@localhost")
SLACK_WEBHOOK_URL = env.url("SLACK_WEBHOOK_URL", "", ("https", "http"))
ALERT_URLS = env.string_list("ALERT_URLS")
HEALTHCHECKS_URL = env.url("HEALTHCHECKS_URL", "", ("http", "https"))
# Reminders: an unacknowledged critical incident is sent again after this many hours, a warning after a day.
ALERT_REMIND_HOURS = env.number("ALERT_REMIND_HOURS", 4, minimum=0.1, maximum=720)
# Where people reach the pages; links in alerts start with it.
SITE_URL = env.url("SITE_URL", "http://127.0.0.1:8000", ("http", "https"))

# --- The listener page -----------------------------------------------------------------------------
# Where a song plays, such as https://player.example.org/songs/{id}; without it there are no play links.
PLAYER_URL_TEMPLATE = env.url_template("PLAYER_URL_TEMPLATE", ("id", "name", "artist", "album"))

# --- Songs endpoint --------------------------------------------------------------------------------
# Dotted names of SongFilter objects: query parameters that other apps add to the ingestion app's endpoint.
SONG_LIST_FILTERS = [
    "recommender.api.song_filters.GENRE_FILTER",
    "recommender.api.song_filters.CLUSTER_FILTER",
]

# --- Watchdog --------------------------------------------------------------------------------------
# Dotted paths of functions that take the time; each app brings its own. Their names are in incident keys.
WATCHDOG_CHECKS = [
    "ingestion.monitoring.checks.runs.runs_finished",
    "ingestion.monitoring.checks.runs.runs_started",
    "ingestion.monitoring.checks.schedules.schedules_come_due",
    "ingestion.monitoring.checks.infrastructure.watchdog_alive",
    "ingestion.monitoring.checks.infrastructure.beat_alive",
    "ingestion.monitoring.checks.infrastructure.workers_alive",
    "ingestion.monitoring.checks.infrastructure.queue_growing",
    "ingestion.monitoring.checks.freshness.data_fresh",
    "moovitamix.security.login_protection.locked_logins",
    "recommender.monitoring.health_checks.model_stale",
    "recommender.monitoring.health_checks.training_failed",
    "recommender.monitoring.health_checks.tests_failing",
]
# Each host runs these for itself.
WATCHDOG_HOST_CHECKS = [
    "ingestion.monitoring.checks.infrastructure.disk_room",
    "moovitamix.tasks.backup_fresh",
    "recommender.monitoring.health_checks.model_storage_away",
    "recommender.monitoring.health_checks.unused_copies",
    "recommender.monitoring.health_checks.model_degraded",
]
# Alert texts by incident kind: each app brings its own (ingestion/alerts/messages/render.py joins them).
ALERT_MESSAGES = [
    "ingestion.alerts.messages.source_and_runs.RUN_MESSAGES",
    "ingestion.alerts.messages.infrastructure.SERVICE_MESSAGES",
    "recommender.monitoring.alert_messages.RECOMMENDER_MESSAGES",
]
# Events for webhooks since a time: each app brings its own.
WEBHOOK_EVENTS = [
    "ingestion.alerts.webhooks.run_and_incident_events",
    "recommender.monitoring.webhook_events.promotion_events",
]
# Web processes run the watchdog too, so that alerts are sent even if Beat and the workers are down.
WATCHDOG_IN_WEB = env.flag("WATCHDOG_IN_WEB", default=True)
# Components that must run; one that never started is reported like one that stopped.
EXPECTED_PARTS = env.choices("EXPECTED_PARTS", ("beat", "worker", "watchdog"))
START_GRACE_MINUTES = env.number("START_GRACE_MINUTES", 15, minimum=1, maximum=720)
MAX_RUN_MINUTES = env.number("MAX_RUN_MINUTES", 180, minimum=1, maximum=10_000)
MAX_DATA_AGE_HOURS = env.number("MAX_DATA_AGE_HOURS", 26, minimum=1, maximum=10_000)
MAX_MODEL_AGE_DAYS = env.number("MAX_MODEL_AGE_DAYS", 14, minimum=1, maximum=10_000)
MAX_QUEUE_LENGTH = env.integer("MAX_QUEUE_LENGTH", 100, minimum=1, maximum=1_000_000)
LEAST_FREE_DISK_SHARE = env.share("LEAST_FREE_DISK_SHARE", 0.1)

# --- Retention -------------------------------------------------------------------------------------
KEEP_RUNS_DAYS = env.integer("KEEP_RUNS_DAYS", 730, minimum=30, maximum=36_500)
KEEP_SETTLED_DAYS = env.integer("KEEP_SETTLED_DAYS", 90, minimum=1, maximum=36_500)
# The longest window that serving and drift read is the last nine weeks.
KEEP_LISTS_DAYS = env.integer("KEEP_LISTS_DAYS", 90, minimum=70, maximum=36_500)
KEEP_MODELS = env.integer("KEEP_MODELS", 20, minimum=1, maximum=10_000)
# 0: never.
FORGET_LISTENERS_DAYS = env.integer("FORGET_LISTENERS_DAYS", 30, minimum=0, maximum=36_500)

# --- Backups ---------------------------------------------------------------------------------------
BACKUP_DIR = env.path("BACKUP_DIR", "") if env.text("BACKUP_DIR") else None
KEEP_BACKUPS = env.integer("KEEP_BACKUPS", 14, minimum=1, maximum=10_000)
MAX_BACKUP_AGE_HOURS = env.number("MAX_BACKUP_AGE_HOURS", 26, minimum=1, maximum=10_000)

# --- Logs ------------------------------------------------------------------------------------------
LOG_FORMAT = env.choice("LOG_FORMAT", "line", ("line", "json"))
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
# Python's warnings go through our formatter.
logging.captureWarnings(capture=True)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "moovitamix.reporting.logs.LineFormatter"},
        "json": {"()": "moovitamix.reporting.logs.JsonFormatter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        **{name: {"level": LOG_LEVEL} for name in ("moovitamix", "ingestion", "recommender", "celery")},
        # Django, Celery and multiprocessing have their own handlers with other formats.
        "django": {"level": "INFO", "handlers": []},
        # Scanners send unknown hosts all the time; they get a 400, and no log entry with their text.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        **{
            name: {"level": level, "handlers": ["stderr"], "propagate": False}
            for name, level in (
                ("django.server", "INFO"), ("celery.task", LOG_LEVEL), ("multiprocessing", "WARNING"),
            )
        },
    },
}  # fmt: skip
# Last, because every setting must have been read. `manage.py check` reports them.
MISSPELT = env.misspelled_variables()
