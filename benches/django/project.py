"""A Django/DRF project in one file: a list endpoint for each table, and the cache view of changed
ids that such projects have: an OrderedDict in the process behind /update, fed by post_save.
"""

import os
from collections import OrderedDict

from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["BENCH_HOST"],
            "PORT": os.environ["BENCH_PORT"],
            "NAME": os.environ["BENCH_DATABASE"],
            "USER": os.environ["BENCH_USER"],
            "CONN_MAX_AGE": None,
        }
    },
    DEBUG=False,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for a benchmark",
    USE_TZ=True,
)

import django  # noqa: E402

django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models  # noqa: E402
from django.db.models.signals import post_save  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import generics, serializers  # noqa: E402

TABLES = int(os.environ["BENCH_TABLES"])

changed = OrderedDict()
version = 0


def remember(sender, instance, **kwargs):
    global version
    version += 1
    key = (sender._meta.db_table, instance.pk)
    changed[key] = version
    changed.move_to_end(key)


def update(request):
    after = int(request.GET.get("after", 0))
    changes = []
    for (table, pk), at in reversed(changed.items()):
        if at <= after:
            break
        changes.append({"table": table, "id": pk})
    return JsonResponse({"version": version, "changes": changes})


def save(request, pk):
    MODELS[0].objects.get(pk=pk).save()
    return JsonResponse({"version": version})


def endpoint(number):
    """A table's model, serializer and list view."""

    class Meta:
        app_label = "bench"
        db_table = f"items_{number}"
        managed = False

    fields = {
        "__module__": __name__,
        "Meta": Meta,
        "id": models.BigIntegerField(primary_key=True),
        "owner": models.IntegerField(),
        "name": models.TextField(),
        "changed": models.DateTimeField(),
    }
    model = type(f"Items{number}", (models.Model,), fields)
    meta = type("Meta", (), {"model": model, "fields": ["id", "owner", "name", "changed"]})
    serializer = type(f"Serializer{number}", (serializers.ModelSerializer,), {"Meta": meta})
    view = type(
        f"List{number}",
        (generics.ListAPIView,),
        {"queryset": model.objects.order_by("id"), "serializer_class": serializer},
    )
    post_save.connect(remember, sender=model)
    return model, path(f"api/items_{number}/", view.as_view())


MODELS, LISTS = zip(*(endpoint(number) for number in range(1, TABLES + 1)))
urlpatterns = [path("update", update), path("save/<int:pk>", save), *LISTS]
application = get_wsgi_application()
