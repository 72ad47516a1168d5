"""Hook for Cloud TPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.google.common.consts import CLIENT_INFO
from airflow.providers.google.common.hooks.base_google import PROVIDE_PROJECT_ID, GoogleBaseHook
from asgiref.sync import sync_to_async

from qarib_tasks.tpu.api.client import Backoff, CloudTpuClient

if TYPE_CHECKING:
    from google.cloud.tpu_v2alpha1 import Node, QueuedResource

    from qarib_tasks.tpu.api.errors import TpuError
    from qarib_tasks.tpu.api.request import TpuRequest


class CloudTPUHook(GoogleBaseHook):
    """
    Hook for the Cloud TPU API: queued resources and nodes.

    Every call is tried again, with a capped back-off with jitter, while the API answers too many requests
    (429), an internal error (500) or that it is unavailable (503).

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
    :param endpoint: Optional ``host:port`` of an emulator, which is spoken to in plaintext and without
        credentials, or an ``https://`` address instead of tpu.googleapis.com. Without it the connection's
        ``tpu_endpoint``, then the environment variable ``CLOUD_TPU_EMULATOR_HOST``.
    :param retry_within: Seconds after which a call that is still not answered fails.
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

        :param project_id: The connection's project without it.
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
    def create_queued_resource(self, request: TpuRequest, project_id: str = PROVIDE_PROJECT_ID) -> str | None:
        """
        Ask for a TPU, unless this very request was made before.

        :param request: Name, zone, type and the rest of it.
        :param project_id: Optional. The connection's project without it.
        :return: The operation's name; None if the queued resource was there already.
        """
        return self.get_conn(project_id).create_queued_resource(request)

    @GoogleBaseHook.fallback_to_default_project_id
    def get_queued_resource(
        self, zone: str, name: str, project_id: str = PROVIDE_PROJECT_ID
    ) -> QueuedResource | None:
        """
        Get a queued resource.

        :param zone: Such as ``us-central1-a``.
        :param name: The queued resource's id.
        :param project_id: Optional. The connection's project without it.
        :return: None if there is none of that name.
        """
        return self.get_conn(project_id).queued_resource(zone, name)

    @GoogleBaseHook.fallback_to_default_project_id
    def get_node(self, zone: str, name: str, project_id: str = PROVIDE_PROJECT_ID) -> Node | None:
        """
        Get a node.

        :param zone: Such as ``us-central1-a``.
        :param name: The node's id.
        :param project_id: Optional. The connection's project without it.
        :return: None if there is none of that name; so before its queued resource is granted.
        """
        return self.get_conn(project_id).node(zone, name)

    @GoogleBaseHook.fallback_to_default_project_id
    def list_queued_resources(
        self, zone: str = "-", labels: dict[str, str] | None = None, project_id: str = PROVIDE_PROJECT_ID
    ) -> list[QueuedResource]:
        """
        List queued resources.

        :param zone: ``-`` stands for all zones.
        :param labels: Only those with all of these labels.
        :param project_id: Optional. The connection's project without it.
        """
        return self.get_conn(project_id).queued_resources(zone, labels)

    @GoogleBaseHook.fallback_to_default_project_id
    def list_nodes(
        self, zone: str = "-", labels: dict[str, str] | None = None, project_id: str = PROVIDE_PROJECT_ID
    ) -> list[Node]:
        """
        List nodes.

        :param zone: ``-`` stands for all zones.
        :param labels: Only those with all of these labels.
        :param project_id: Optional. The connection's project without it.
        """
        return self.get_conn(project_id).nodes(zone, labels)

    @GoogleBaseHook.fallback_to_default_project_id
    def get_operation_error(
        self, operation: str, zone: str, project_id: str = PROVIDE_PROJECT_ID
    ) -> TpuError | None:
        """
        Get what an operation has ended with, if that is an error.

        :param operation: The operation's full name.
        :param zone: The zone that it works in.
        :param project_id: Optional. The connection's project without it.
        """
        return self.get_conn(project_id).operation_error(operation, zone=zone)

    @GoogleBaseHook.fallback_to_default_project_id
    def delete_step(self, zone: str, name: str, project_id: str = PROVIDE_PROJECT_ID) -> bool:
        """
        Do what can be done now to be rid of a queued resource and its node.

        :param zone: Such as ``us-central1-a``.
        :param name: The queued resource's and the node's id.
        :param project_id: Optional. The connection's project without it.
        :return: Whether neither is there any more; until then it is to be called again.
        """
        return self.get_conn(project_id).delete_step(zone, name)

    @GoogleBaseHook.fallback_to_default_project_id
    def delete_queued_resource(
        self,
        zone: str,
        name: str,
        timeout: float = 1800.0,
        poll_interval: float = 10.0,
        project_id: str = PROVIDE_PROJECT_ID,
    ) -> None:
        """
        Delete a queued resource and its node, and wait until the API answers that both are gone.

        :param zone: Such as ``us-central1-a``.
        :param name: The queued resource's and the node's id. It is fine if there is none.
        :param timeout: Seconds to wait at most.
        :param poll_interval: Seconds between two looks.
        :param project_id: Optional. The connection's project without it.
        """
        self.get_conn(project_id).delete(zone, name, within=timeout, poll=poll_interval)

    @GoogleBaseHook.fallback_to_default_project_id
    def check_offered(
        self, zone: str, accelerator_type: str, runtime_version: str, project_id: str = PROVIDE_PROJECT_ID
    ) -> None:
        """
        Check that a zone has an accelerator type and a runtime version.

        :param zone: Such as ``us-central1-a``.
        :param accelerator_type: Such as ``v5litepod-8``.
        :param runtime_version: Such as ``v2-alpha-tpuv5-lite``.
        :param project_id: Optional. The connection's project without it.
        :raises TpuRequestError: With those that it has.
        """
        self.get_conn(project_id).check_offered(zone, accelerator_type, runtime_version)

    def test_connection(self) -> tuple[bool, str]:
        """Test the connection: list the project's queued resources."""
        try:
            found = self.list_queued_resources()
        except Exception as error:
            return False, str(error)
        return True, f"{len(found)} queued resources in {self.project_id}"


class CloudTPUAsyncHook:
    """
    The same for a trigger: each call in a thread, so that the triggerer's loop goes on meanwhile.

    Google's own asynchronous client would need a second implementation of all that the service does; the
    calls are rare, and the triggerer has threads.

    :param kwargs: Of :class:`CloudTPUHook`.
    """

    def __init__(self, **kwargs: Any) -> None:
        self._kwargs = kwargs
        self._hook: CloudTPUHook | None = None

    async def call(self, method: str, **kwargs: Any) -> Any:
        """
        Call a method of the hook.

        :param method: Its name.
        :param kwargs: Its arguments.
        """
        return await sync_to_async(self._call, thread_sensitive=False)(method, kwargs)

    def _call(self, method: str, kwargs: dict[str, Any]) -> Any:
        if self._hook is None:
            self._hook = CloudTPUHook(**self._kwargs)
        return getattr(self._hook, method)(**kwargs)
