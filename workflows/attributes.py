"""Search attributes by which an operator finds campaigns in the Temporal UI. Ids, never texts."""

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.common import SearchAttributeKey

STATUS = SearchAttributeKey.for_keyword("CampaignStatus")
PROJECT = SearchAttributeKey.for_keyword("ProjectId")
SEGMENT = SearchAttributeKey.for_keyword("SegmentId")

ALL = (STATUS, PROJECT, SEGMENT)


def registration(namespace: str) -> AddSearchAttributesRequest:
    """What makes them known to a namespace. A workflow that sets an unknown one never goes on."""
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    return AddSearchAttributesRequest(
        namespace=namespace, search_attributes={key.name: keyword for key in ALL}
    )
