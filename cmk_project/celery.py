"""The Celery application of the proxy's workers: `celery --app cmk_project.celery worker`. Needs Redis."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import setup_logging
from django.apps import apps
from django.conf import settings

from cmk_project.env import SettingError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cmk_project.settings.tsp")
if not settings.TSP_REDIS_URL:
    raise SettingError("TSP_REDIS_URL is not set: workers need Redis; without it the proxy ships and renews by itself")

HARD_SECONDS = 120
app = Celery("cmk", broker=settings.TSP_REDIS_URL, backend=settings.TSP_REDIS_URL)
app.conf.update(
    # Redis is not trusted: JSON only, never pickle, and tasks take no arguments (T-9)
    accept_content=["json"],
    task_serializer="json",
    result_serializer="json",
    task_ignore_result=True,
    # a task that its worker did not finish is done again by another one
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_time_limit=HARD_SECONDS,
    task_soft_time_limit=HARD_SECONDS - 20,
    broker_transport_options={
        "visibility_timeout": 300,
        "global_keyprefix": "cmk:celery:",
        # a Redis that says nothing is one that is away: without these a worker would wait for its reply for ever
        "socket_timeout": 10.0,
        "socket_connect_timeout": 5.0,
        "socket_keepalive": True,
    },
    result_backend_transport_options={"global_keyprefix": "cmk:celery:"},
    visibility_timeout=300,
    task_default_queue="cmk",
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_soft_shutdown_timeout=30.0,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    task_track_started=False,
    timezone="UTC",
    # A missed or doubled beat does no harm: workers ship without it, and proxies renew what no worker has.
    beat_schedule={
        "renew": {"task": "cmk.renew", "schedule": 15.0, "options": {"expires": 30.0}},
        "refresh": {"task": "cmk.refresh", "schedule": 60.0, "options": {"expires": 50.0}},
    },
)
apps.populate(settings.INSTALLED_APPS)
app.autodiscover_tasks(["tsp"], force=True)
app.steps["consumer"].add("tsp.tasks:Turns")


@setup_logging.connect
def _keep_our_logging(**_: object) -> None:
    """Logging is set up by the settings (allow-listed JSON): Celery would print task arguments."""
