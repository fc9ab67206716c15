"""What a published measurement looks like, in each of the formats (schemas: docs/schemas)."""

from collections.abc import Callable, Mapping

import msgspec

from streams.publisher.formats import (
    CLOUDEVENT_HEADERS,
    Content,
    attribute_headers,
    ves_headers,
)
from streams.publisher.ves_measurement import ves_measurement
from vimfed.model.keys import home_key
from vimfed.model.samples import Measurement, encode_measurement
from vimfed.model.schemas import schema_id
from vimfed.settings import DmaapOutput, Format

_encode = msgspec.json.Encoder().encode


def cloudevents_attributes(told: Measurement) -> dict[str, str]:
    """Return the CloudEvents 1.0 context attributes of a measurement, extensions last."""
    what, subject = ("vm", told.instance_id) if told.instance_id else ("host", told.host)
    attributes = {
        "specversion": "1.0",
        "id": told.id,
        "type": f"org.onap.multicloud.{what}.measurement",
        "source": f"/vims/{told.vim_id}",
        "subject": subject,
        "time": told.end,
        "dataschema": schema_id("measurement"),
        "partitionkey": home_key(told.vim_id, told.instance_id, told.host).decode(),
        "vimid": told.vim_id,
    }
    return {**attributes, "host": told.host} if told.host else attributes


def _payload(told: Measurement, _output: DmaapOutput) -> Content:
    return Content(encode_measurement(told), attribute_headers(cloudevents_attributes(told)))


def _cloudevents(told: Measurement, output: DmaapOutput) -> Content:
    """Return a structured-mode CloudEvent, its data the measurement; a webhook's is in parts."""
    if output.is_webhook:
        return _payload(told, output)
    attributes = {**cloudevents_attributes(told), "datacontenttype": "application/json"}
    return Content(_encode({**attributes, "data": told}), CLOUDEVENT_HEADERS)


def _ves(told: Measurement, output: DmaapOutput) -> Content:
    headers = ves_headers(cloudevents_attributes(told), output)
    return Content(ves_measurement(told, output), headers, domain="measurement")


MEASUREMENT_FORMATS: Mapping[Format, Callable[[Measurement, DmaapOutput], Content]] = {
    "payload": _payload,
    "cloudevents": _cloudevents,
    "ves": _ves,
}
"""Each format's function."""
