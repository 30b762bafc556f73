"""Make an automation of Prefect that notifies an address when a run fails, crashes, or does not start in time.

    NOTIFY_URL=https://chat.example.org/hooks/... PREFECT_API_URL=http://127.0.0.1:4200/api python deploy/notify.py

Prefect posts JSON to the address, {"text": "..."}, which Slack, Mattermost and Teams accept. The address is a secret of
a block, which Prefect stores encrypted, and is in no file. Another run replaces address and automation.
"""

import os
import sys

from prefect.automations import Automation
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.events import EventTrigger, SendNotification
from prefect.types import SecretDict

NAME = "sitscube-runs-in-trouble"
IN_TROUBLE = {f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut", "Late")}
BODY = (
    "{{ flow.name }} {{ flow_run.name }}: {{ flow_run.state.name }}. {{ flow_run.state.message }} {{ flow_run|ui_url }}"
)


def main() -> None:
    """Make the block and the automation, or replace them."""
    address = os.environ.get("NOTIFY_URL")
    if not address:
        sys.exit("NOTIFY_URL is not set: the address that notifications are posted to.")
    block = CustomWebhookNotificationBlock(
        name=NAME,
        url="{{address}}",
        json_data={"text": "{{subject}}\n{{body}}"},
        secrets=SecretDict({"address": address}),
    )
    block_id = block.save(NAME, overwrite=True)
    trigger = EventTrigger(expect=IN_TROUBLE, match={"prefect.resource.id": "prefect.flow-run.*"})
    notification = SendNotification(block_document_id=block_id, subject="sitscube: a run is in trouble", body=BODY)
    wanted = Automation(name=NAME, trigger=trigger, actions=[notification])
    try:
        wanted.id = Automation.read(name=NAME).id
    except ValueError:  # there is none yet
        wanted.create()
    else:
        wanted.update()
    print(f"{NAME}: runs that fail, crash or are late are told to the address in NOTIFY_URL")


if __name__ == "__main__":
    main()
