"""A settings file with an output of every kind, and a cloud with samples."""

EVERY_OUTPUT = """
[kafka]
bootstrap = "k0:9092"
topic_prefix = "p"

[[vims]]
cloud_owner = "Owner"
cloud_region_id = "one"
samples = { pushed = true }

[[dmaap.outputs]]
name = "onap"
url = "kafka://k1:9092,k2:9092/unauthenticated.VIM_VM_EVENTS"

[[dmaap.outputs]]
name = "mr"
url = "https://mr:3905/events/unauthenticated.VMS"
format = "cloudevents"
username = "who-logs-in"
password = "word-that-nobody-reads"

[[dmaap.outputs]]
name = "ves"
url = "ves+https://ves:8443/eventListener/v7"

[[dmaap.outputs]]
name = "old-ves"
url = "ves+http://ves:8080/eventListener/v5"
ves_version = "5.4"

[[dmaap.outputs]]
name = "ves-topics"
url = "ves+kafka://k3:9093"
security_protocol = "SSL"

[[dmaap.outputs]]
name = "hook"
url = "webhook+https://hooks.example.org/path-that-nobody-reads"

[[dmaap.outputs]]
name = "tenants"
url = "kafka://k1:9092/t.{project_id}.events"

[[dmaap.outputs]]
name = "metrics"
url = "kafka://k1:9092/metrics"
carries = "measurements"
"""
