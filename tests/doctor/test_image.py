"""The image: present, absent, not shown, and its readers. Covers qarib_tasks/doctor/image.py."""

from __future__ import annotations

import pytest

from qarib_tasks.doctor.apis import GoogleApis
from qarib_tasks.doctor.image import check_image
from tests.support.google.deployment import Checked, lines
from tests.support.google.stand_in import ACCOUNT, IMAGE, MACHINE, GoogleStandIn

ME = f"serviceAccount:{ACCOUNT}"


def test_an_image_that_the_machines_can_fetch(apis: GoogleApis) -> None:
    image, access = check_image(apis, IMAGE, ME, MACHINE)
    assert (image.state, image.what) == ("ok", "in Artifact Registry, 2,500 MB")
    assert access.state == "ok"
    assert len(check_image(apis, IMAGE, ME, "")) == 1


def test_an_image_that_is_not_there(apis: GoogleApis, google: GoogleStandIn) -> None:
    google.world.images.clear()
    (line,) = check_image(apis, IMAGE, ME, MACHINE)
    assert line.state == "fault"
    place = "us-central1-docker.pkg.dev/my-project/images/qarib"
    assert line.do.startswith(f"gcloud artifacts docker images list {place} --include-tags")


@pytest.mark.parametrize("shown", [True, False])
def test_an_account_without_the_role(apis: GoogleApis, google: GoogleStandIn, shown: bool) -> None:
    google.world.readers.clear()
    if not shown:
        google.world.denied.add("artifactregistry.projects.locations.repositories.getIamPolicy")
    line = check_image(apis, IMAGE, ME, MACHINE)[-1]
    assert line.state == "warning"
    assert (
        "gcloud artifacts repositories add-iam-policy-binding images --location=us-central1 "
        f"--project=my-project --member=serviceAccount:{MACHINE} --role=roles/artifactregistry.reader"
        in line.do
    )


def test_what_is_not_shown_or_not_in_artifact_registry(apis: GoogleApis, google: GoogleStandIn) -> None:
    (line,) = check_image(apis, f"example.org/qarib@sha256:{'0' * 64}", ME, MACHINE)
    assert (line.state, line.what[:11]) == ("warning", "not checked")
    google.world.denied.add("artifactregistry.projects.locations.repositories.dockerImages.get")
    (line,) = check_image(apis, IMAGE, ME, MACHINE)
    assert (line.state, "roles/artifactregistry.reader" in line.do) == ("warning", True)


def test_the_command(deployment: Checked) -> None:
    """With an image, machines without external addresses need no wheelhouse."""
    deployment.settings["tpu"] |= {"image": IMAGE, "external_ips": False}
    deployment.world.private_access = True
    answer = deployment.run()
    assert lines(answer.stdout, "fault") == [], answer.stdout
    subjects = {subject for subject, _ in lines(answer.stdout, "ok")}
    assert subjects >= {"image", "image's access"}
    assert "wheelhouse" not in answer.stdout
