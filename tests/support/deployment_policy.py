"""What a deployment to Kubernetes must be like: the project's own policy, for manifests."""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.support.helm_chart import Document, of_kind, pods
from vimfed.settings import Settings

COMPONENT = "app.kubernetes.io/component"
API_PORTS = frozenset({Settings().web.port, Settings().gateway.port})


class Pod(NamedTuple):
    """The pod of a component, as a workload makes it."""

    component: str
    template: Document
    documents: Sequence[Document]

    @property
    def spec(self) -> Document:
        """Its specification."""
        found: Document = self.template["spec"]
        return found

    @property
    def containers(self) -> list[Document]:
        """All of them."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def environment(self) -> dict[str, Any]:
        """Variables by name; None for what comes from elsewhere."""
        variables = [each for one in self.containers for each in one.get("env", [])]
        return {each["name"]: each.get("value") for each in variables}

    @property
    def secrets(self) -> set[str]:
        """The names of the Secrets that it has, whole or in part."""
        volumes = [
            each["secret"]["secretName"] for each in self.spec["volumes"] if "secret" in each
        ]
        sources = [
            each.get("valueFrom", {}) for one in self.containers for each in one.get("env", [])
        ]
        return {
            *volumes,
            *(each["secretKeyRef"]["name"] for each in sources if "secretKeyRef" in each),
        }

    @property
    def settings(self) -> Document:
        """The table of its settings file, as it is written."""
        maps = [each["configMap"]["name"] for each in self.spec["volumes"] if "configMap" in each]
        texts = [
            document["data"]["vimfed.toml"]
            for document in of_kind("ConfigMap", self.documents)
            if document["metadata"]["name"] in maps
        ]
        (text,) = texts
        return tomllib.loads(text)

    @property
    def policies(self) -> list[Document]:
        """The NetworkPolicies that are for it."""
        labels = self.template["metadata"]["labels"].items()
        return [
            policy["spec"]
            for policy in of_kind("NetworkPolicy", self.documents)
            if policy["spec"]["podSelector"].get("matchLabels", {}).items() <= labels
        ]


def violations(documents: Sequence[Document]) -> list[str]:
    """Return what is against the policy: of which component, and what."""
    found = [Pod(component, template, documents) for component, template in pods(documents)]
    told = [f"{pod.component}: {text}" for pod in found for rule in RULES for text in rule(pod)]
    counts = Counter(secret for pod in found for secret in pod.secrets)
    shared = [
        f"{name}: {count} components have this Secret"
        for name, count in counts.items()
        if count > 1
    ]
    return [*told, *shared]


def _login(pod: Pod) -> Iterator[str]:
    """Everybody is asked who they are, where more than the own pod reaches the process."""
    for section in ("web", "gateway"):
        prefix = f"VIMFED_{section.upper()}"
        table = pod.settings.get(section, {})
        auth = table.get("auth", {}) if section == "web" else table
        variables = [name for name in pod.environment if name.endswith("ALLOW_ANONYMOUS")]
        if auth.get("allow_anonymous") or any(name.startswith(prefix) for name in variables):
            yield f"{section} lets everybody in"
        host = pod.environment.get(f"{prefix}__HOST") or table.get("host")
        is_asked = auth.get("users") or auth.get("keystone", {}).get("url")
        if host and not is_asked:
            yield f"{section} is open at {host} without a login"


def _network(pod: Pod) -> Iterator[str]:
    """What comes in and goes out is named."""
    kinds = {kind for policy in pod.policies for kind in policy["policyTypes"]}
    if kinds != {"Ingress", "Egress"}:
        yield "no NetworkPolicy for what comes in and goes out"
    for policy in pod.policies:
        for rule in policy.get("ingress", []):
            ports = {port["port"] for port in rule.get("ports", [])}
            if not rule.get("from") or not ports:
                yield "a rule lets everybody in, or to every port"
            if ports & API_PORTS and ports - API_PORTS:
                yield "a rule does not tell the API from the metrics"
        if not all(rule.get("ports") for rule in policy.get("egress", [])):
            yield "a rule lets it go out by every port"


def _account(pod: Pod) -> Iterator[str]:
    """No process speaks with Kubernetes."""
    name = pod.spec.get("serviceAccountName", "default")
    accounts = {
        account["metadata"]["name"]: account.get("automountServiceAccountToken")
        for account in of_kind("ServiceAccount", pod.documents)
    }
    if name not in accounts:
        yield "no account of its own"
    elif accounts[name] is not False:
        yield "its account mounts a token"
    if pod.spec.get("automountServiceAccountToken") is not False:
        yield "it mounts a token"


def _rights(pod: Pod) -> Iterator[str]:
    """No process has a right of the machine."""
    context = pod.spec.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        yield "it may run as root"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "no seccomp profile"
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(field):
            yield f"{field} is on"
    for one in pod.containers:
        own = one.get("securityContext", {})
        if own.get("readOnlyRootFilesystem") is not True:
            yield "its root file system can be written"
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            yield "it may gain privileges"
        if own.get("capabilities") != {"drop": ["ALL"]}:
            yield "it has capabilities"
        if not one.get("resources", {}).get("limits", {}).get("memory"):
            yield "its memory has no limit"


def _probes(pod: Pod) -> Iterator[str]:
    """Probes have a port that no stranger fills, nor is sent to."""
    (one, *_) = pod.containers
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = one.get(probe, {}).get("httpGet", {}).get("port")
        if asked != "monitoring" or ports.get("monitoring", 0) in {0, *API_PORTS}:
            yield f"{probe} asks the API's port"


RULES: tuple[Callable[[Pod], Iterator[str]], ...] = (_login, _network, _account, _rights, _probes)
