from django.db import transaction
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from .models import Note


@csrf_exempt
def notes(request):
    if request.method == "POST":
        with transaction.atomic():
            note = Note.objects.create(text=request.body.decode())
        request.session["last"] = note.id
        return JsonResponse({"id": note.id}, status=201)
    return JsonResponse({"notes": list(Note.objects.order_by("id").values_list("text", flat=True))})


urlpatterns = [path("notes", notes)]
