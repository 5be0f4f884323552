"""Every route."""

from django.contrib import admin
from django.urls import path

from moovitamix.home import home

urlpatterns = [path("", home, name="home"), path("admin/", admin.site.urls)]
