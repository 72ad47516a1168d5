"""Hook for Cloud TPU, and the client of the machine that a job is for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from airflow.providers.google.common.consts import CLIENT_INFO
from airflow.providers.google.common.hooks.base_google import PROVIDE_PROJECT_ID, GoogleBaseHook

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.tpu.api.client import Backoff, CloudTpuClient
from qarib_tasks.tpu.api.service import Service


def service_of(
    tpu: TpuConfig,
    project_id: str | None = None,
    gcp_conn_id: str = "google_cloud_default",
    impersonation_chain: str | Sequence[str] | None = None,
) -> Service:
    """
    Retrieve the client for the machines of these settings: Cloud TPU, or a GKE cluster.

    :param tpu: The settings; their ``machine`` is not ``local``.
    :param project_id: Optional project of a Cloud TPU. The default is the connection's project.
    :param gcp_conn_id: The connection ID to use when fetching connection info.
    :param impersonation_chain: Optional service account to impersonate, or chained list of accounts.
    """
    if tpu.machine != "gke":
        hook = CloudTPUHook(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
        return hook.get_conn(project_id)
    return gke_service(tpu.gke_cluster, tpu.gke_namespace, gcp_conn_id, impersonation_chain)


def gke_service(
    cluster: str,
    namespace: str,
    gcp_conn_id: str = "google_cloud_default",
    impersonation_chain: str | Sequence[str] | None = None,
) -> Service:
    """
    Retrieve the client for a GKE cluster, over the hooks of Google's provider.

    :param cluster: ``projects/PROJECT/locations/LOCATION/clusters/NAME``.
    :param namespace: Namespace of the jobs.
    :param gcp_conn_id: The connection ID to use when fetching connection info.
    :param impersonation_chain: Optional service account to impersonate, or chained list of accounts.
    """
    from qarib_tasks.tpu.gke.client import EMULATOR_ENVIRONMENT, GkeClient, emulator_api

    if os.environ.get(EMULATOR_ENVIRONMENT):
        return GkeClient(emulator_api(), namespace, emulated=True)
    # These take seconds to import.
    from airflow.providers.google.cloud.hooks.kubernetes_engine import GKEHook, GKEKubernetesHook
    from airflow.providers.google.cloud.operators.kubernetes_engine import GKEClusterAuthDetails

    _, project, _, location, _, name = cluster.split("/")
    account: dict[str, Any] = {"gcp_conn_id": gcp_conn_id, "impersonation_chain": impersonation_chain}
    address, certificate = GKEClusterAuthDetails(
        cluster_name=name,
        project_id=project,
        use_internal_ip=False,
        use_dns_endpoint=False,
        cluster_hook=GKEHook(location=location, **account),
    ).fetch_cluster_info()
    api = GKEKubernetesHook(cluster_url=address, ssl_ca_cert=certificate, **account).get_conn()
    return GkeClient(api, namespace)


class CloudTPUHook(GoogleBaseHook):
    """
    Hook for the Cloud TPU API: the connection's project and credentials for a `CloudTpuClient`.

    Retries every call of the client, with capped back-off and jitter, while the API answers "too many
    requests" (429), "internal error" (500) or "unavailable" (503).

    :param gcp_conn_id: The connection ID to use when fetching connection info. Its extra may hold
        ``tpu_endpoint``, see ``endpoint``.
    :param impersonation_chain: Optional service account to impersonate using short-term
        credentials, or chained list of accounts required to get the access_token
        of the last account in the list, which will be impersonated in the request.
        If set as a string, the account must grant the originating account
        the Service Account Token Creator IAM role.
        If set as a sequence, the identities from the list must grant
        Service Account Token Creator IAM role to the directly preceding identity, with first
        account from the list granting this role to the originating account.
    :param endpoint: Optional ``token@host:port`` of an emulator, which is called in plaintext with this
        token as its only credentials, or an ``https://`` address instead of tpu.googleapis.com. The
        default is the connection's ``tpu_endpoint``, then the environment variable
        ``CLOUD_TPU_EMULATOR_HOST``.
    :param retry_within: Seconds after which a call without an answer fails.
    """

    def __init__(
        self,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        endpoint: str | None = None,
        retry_within: float = Backoff.within,
        **kwargs: Any,
    ) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain, **kwargs)
        self.endpoint = endpoint
        self.retry_within = retry_within
        self._clients: dict[str, CloudTpuClient] = {}

    def get_conn(self, project_id: str | None = None) -> CloudTpuClient:
        """
        Retrieve the client for a project.

        :param project_id: Optional. The default is the connection's project.
        """
        project = project_id or self.project_id
        if project not in self._clients:
            endpoint = self.endpoint or self._get_field("tpu_endpoint", None)
            to_emulator = endpoint and not endpoint.startswith("https://")
            self._clients[project] = CloudTpuClient(
                project,
                endpoint=endpoint,
                credentials=None if to_emulator else self.get_credentials(),
                client_info=CLIENT_INFO,
                backoff=Backoff(within=self.retry_within),
            )
        return self._clients[project]

    @GoogleBaseHook.fallback_to_default_project_id
    def check_offered(
        self, zone: str, accelerator_type: str, runtime_version: str, project_id: str = PROVIDE_PROJECT_ID
    ) -> None:
        """
        Check that a zone has an accelerator type and a runtime version.

        :param zone: Such as ``us-central1-a``.
        :param accelerator_type: Such as ``v5litepod-8``.
        :param runtime_version: Such as ``v2-alpha-tpuv5-lite``.
        :param project_id: Optional. The default is the connection's project.
        :raises TpuRequestError: The zone does not offer one of them; the message lists what it offers.
        """
        self.get_conn(project_id).check_offered(zone, accelerator_type, runtime_version)
