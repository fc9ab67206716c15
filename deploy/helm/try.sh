#!/bin/bash
# Tries the chart in a real cluster, in a namespace of its own that it removes again: install, helm test, replay
# of a recorded trace, comparison of all servers with nova's own word, rolling update and scaling under a
# polling client whose errors are counted, uninstall. About ten minutes.
#
#   deploy/helm/try.sh REPOSITORY:TAG       the image, which the cluster's nodes must be able to pull
#
# kubectl's present context says which cluster. It needs the right to make namespaces, and a default storage
# class. Further variables:
#
#   NAMESPACE         vimfed-try; it must not exist
#   KAFKA_IMAGE       apache/kafka:4.1.2
#   RABBITMQ_IMAGE    rabbitmq:4.1.4-alpine
#   VALUES            a file with further values, for a registry's secret or OpenShift
#   KEEP              yes: leave everything as it is at the end
set -euo pipefail

NAMESPACE=${NAMESPACE:-vimfed-try}
KAFKA_IMAGE=${KAFKA_IMAGE:-apache/kafka:4.1.2}
RABBITMQ_IMAGE=${RABBITMQ_IMAGE:-rabbitmq:4.1.4-alpine}
HERE=$(cd "$(dirname "$0")" && pwd)
CHART=$HERE/vim-event-federation
RELEASE=try
NAME=$RELEASE-vim-event-federation
URL=http://$NAME:6066
MADE=

say() { printf '\n== %s\n' "$*"; }
fail() { echo "try.sh: $*" >&2; exit 1; }
k() { kubectl --namespace "$NAMESPACE" "$@"; }
in_client() { k exec -i client -- "$@"; }

require() {
    local missing=()
    for program in kubectl helm; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    [ ${#missing[@]} -eq 0 ] || fail "missing on this machine: ${missing[*]}"
    kubectl version >/dev/null 2>&1 || fail "kubectl reaches no cluster: kubectl config current-context"
    ! kubectl get namespace "$NAMESPACE" >/dev/null 2>&1 ||
        fail "the namespace $NAMESPACE exists: remove it, or set NAMESPACE"
    kubectl auth can-i create namespaces >/dev/null 2>&1 || fail "missing: the right to create namespaces"
    kubectl get storageclass -o jsonpath='{.items[*].metadata.annotations}' |
        grep -q 'is-default-class":"true' || fail "missing: a default storage class, for the workers' volumes"
}

clean() {
    [ -n "$MADE" ] || return 0
    if [ "${KEEP:-}" = yes ]; then
        echo "left as it is: kubectl delete namespace $NAMESPACE removes it"
        return 0
    fi
    kubectl delete namespace "$NAMESPACE" --wait=false
}

explain() {
    k get pods -o wide || true
    k get events --sort-by=.lastTimestamp | tail -20 || true
    k logs --all-containers --prefix --tail=5 -l "app.kubernetes.io/instance=$RELEASE" || true
}

finish() {
    local status=$?
    [ $status -eq 0 ] || [ -z "$MADE" ] || explain >&2
    clean
    rm -f "$TOLD"
    exit $status
}

brokers() {
    k apply -f - <<EOF
apiVersion: apps/v1
kind: Deployment
metadata: {name: kafka}
spec:
  selector: {matchLabels: {app: kafka}}
  template:
    metadata: {labels: {app: kafka}}
    spec:
      enableServiceLinks: false
      containers:
        - name: kafka
          image: $KAFKA_IMAGE
          env:
            - {name: KAFKA_PROCESS_ROLES, value: "broker,controller"}
            - {name: KAFKA_NODE_ID, value: "1"}
            - {name: KAFKA_LISTENERS, value: "PLAINTEXT://:9092,CONTROLLER://:9093"}
            - {name: KAFKA_ADVERTISED_LISTENERS, value: "PLAINTEXT://kafka:9092"}
            - {name: KAFKA_LISTENER_SECURITY_PROTOCOL_MAP, value: "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"}
            - {name: KAFKA_CONTROLLER_LISTENER_NAMES, value: CONTROLLER}
            - {name: KAFKA_CONTROLLER_QUORUM_VOTERS, value: "1@localhost:9093"}
            - {name: KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR, value: "1"}
            - {name: KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR, value: "1"}
            - {name: KAFKA_TRANSACTION_STATE_LOG_MIN_ISR, value: "1"}
            - {name: KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS, value: "0"}
          readinessProbe: {tcpSocket: {port: 9092}}
---
apiVersion: v1
kind: Service
metadata: {name: kafka}
spec: {selector: {app: kafka}, ports: [{port: 9092}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: rabbitmq}
spec:
  selector: {matchLabels: {app: rabbitmq}}
  template:
    metadata: {labels: {app: rabbitmq}}
    spec:
      enableServiceLinks: false
      containers:
        - name: rabbitmq
          image: $RABBITMQ_IMAGE
          env:
            - {name: RABBITMQ_DEFAULT_USER, value: vimfed}
            - {name: RABBITMQ_DEFAULT_PASS, value: vimfed}
          readinessProbe: {tcpSocket: {port: 5672}}
---
apiVersion: v1
kind: Service
metadata: {name: rabbitmq}
spec: {selector: {app: rabbitmq}, ports: [{port: 5672}]}
EOF
    k create secret generic cloud --from-file=transport_urls=/dev/stdin <<<"rabbit://vimfed:vimfed@rabbitmq:5672/"
    k rollout status deployment/kafka --timeout=300s
    k rollout status deployment/rabbitmq --timeout=300s
}

values() {
    cat <<EOF
image: {repository: "${IMAGE%:*}", tag: "${IMAGE##*:}"}
settings:
  kafka: {bootstrap: "kafka:9092", replication: 1, min_insync_replicas: 1}
  vims:
    - cloud_owner: CloudOwner
      cloud_region_id: RegionOne
      rabbit: {transport_urls_file: /etc/vimfed/secrets/cloud/transport_urls}
secretFiles: {cloud: cloud}
worker: {replicas: 3}
EOF
}

upgrade() {
    local more=()
    [ -z "${VALUES:-}" ] || more=(--values "$VALUES")
    values | helm --namespace "$NAMESPACE" upgrade --install "$RELEASE" "$CHART" --values - "${more[@]}" \
        --wait --timeout 5m "$@" >/dev/null
}

client() {
    k apply -f - <<EOF
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  enableServiceLinks: false
  terminationGracePeriodSeconds: 1
  containers:
    - name: client
      image: "$IMAGE"
      command: [sleep, infinity]
      env:
        - name: PASSWORD
          valueFrom: {secretKeyRef: {name: $NAME-worker-login, key: password}}
        - {name: TRY_LOGIN, value: "operator:\$(PASSWORD)"}
      volumeMounts:
        - {name: cloud, mountPath: /cloud}
  volumes:
    - {name: cloud, secret: {secretName: cloud}}
EOF
    k wait --for=condition=Ready pod/client --timeout=120s
}

# While "$@" runs, a client asks for one server; prints what it saw.
under_load() {
    local what=$1
    shift
    in_client rm -f /tmp/enough /tmp/enough-begun
    in_client python - poll "$URL" "$SERVER" /tmp/enough <"$HERE/try_client.py" >"$TOLD" &
    local polling=$!
    until in_client test -e /tmp/enough-begun; do sleep 0.2; done
    "$@"
    in_client touch /tmp/enough
    wait "$polling"
    echo "$what: $(cat "$TOLD")"
}

compare() { in_client python - truth "$URL" "$DATA/nova-34-truth.json" <"$HERE/try_client.py"; }

restart() {
    k rollout restart "statefulset/$NAME-worker"
    k rollout status "statefulset/$NAME-worker" --timeout=300s
}

scale() {
    k scale "statefulset/$NAME-worker" --replicas="$1"
    k rollout status "statefulset/$NAME-worker" --timeout=300s
    k wait --for=delete "pod/$NAME-worker-$1" --timeout=120s 2>/dev/null || true
}

IMAGE=${1:-}
[[ $IMAGE == *:* ]] || fail "name the image, REPOSITORY:TAG"
require
TOLD=$(mktemp)
trap finish EXIT

say "namespace $NAMESPACE, with a Kafka and a RabbitMQ"
kubectl create namespace "$NAMESPACE"
MADE=yes
brokers

say "install"
SECONDS=0
upgrade
echo "ready after $SECONDS s"
helm --namespace "$NAMESPACE" test "$RELEASE" --logs
k exec "$NAME-worker-0" -- vimfed status --once

say "replay of the recorded trace"
client
DATA=$(in_client python -c "import vimfed; print(vimfed.__path__[0])")/files/tests/data
in_client vimfed replay "$DATA/nova-34-trace.jsonl.gz" --url-file /cloud/transport_urls
compare
SERVER=$(in_client python -c "import json; print(next(iter(json.load(open('$DATA/nova-34-truth.json'))['servers'])))")

say "rolling update, and scaling, under a client that asks ten times a second"
under_load "rolling update of three workers" restart
compare
under_load "3 to 5 workers" scale 5
under_load "5 to 2 workers" scale 2
compare

say "upgrade, which leaves everything as it is"
upgrade --set worker.replicas=2
compare

say "uninstall"
helm --namespace "$NAMESPACE" uninstall "$RELEASE" --wait
echo "all of it went as it should"
