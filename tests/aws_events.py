"""What AWS sends: reports of SES of every kind, and the envelopes of SNS and SQS, as data."""

from __future__ import annotations

import json
from typing import Any, Final

TOPIC: Final = "arn:aws:sns:ap-southeast-1:123456789012:siutindei"
MESSAGE_ID: Final = "010001993b8e5c1a-0c7d1f62-5a52-4f0b-8a55-1f0c8a527c1e-000000"
FEEDBACK_ID: Final = "010001993b8e6d2b-7f0c8a52-1f62-4f0b-8a55-5a520c7d1f62-000000"
AT: Final = "2026-01-31T01:31:02.003Z"

_MAIL: Final[dict[str, Any]] = {
    "timestamp": "2026-01-31T01:30:59.003Z",
    "messageId": MESSAGE_ID,
    "source": "no-reply@example.com",
    "sourceArn": "arn:aws:ses:ap-southeast-1:123456789012:identity/example.com",
    "sendingAccountId": "123456789012",
    "destination": ["ann@example.com"],
    "headersTruncated": False,
    "headers": [
        {"name": "From", "value": "no-reply@example.com"},
        {"name": "To", "value": "ann@example.com"},
    ],
    "commonHeaders": {
        "from": ["no-reply@example.com"],
        "to": ["ann@example.com"],
        "messageId": MESSAGE_ID,
        "subject": "[Siu Tin Dei] [R00001] Your request",
    },
    "tags": {
        "ses:configuration-set": ["siutindei-tickets"],
        "ses:source-ip": ["192.0.2.1"],
        "ses:from-domain": ["example.com"],
        "ses:caller-identity": ["processor"],
        "kind": ["ticket_decided"],
    },
}
#: The details of each kind of event that is published, by its `eventType`.
DETAILS: Final[dict[str, dict[str, Any]]] = {
    "Send": {"send": {}},
    "Delivery": {
        "delivery": {
            "timestamp": AT,
            "processingTimeMillis": 546,
            "recipients": ["ann@example.com"],
            "smtpResponse": "250 2.6.0 Message received",
            "remoteMtaIp": "192.0.2.7",
            "reportingMTA": "a8-70.smtp-out.example.com",
        }
    },
    "DeliveryDelay": {
        "deliveryDelay": {
            "delayType": "MailboxFull",
            "delayedRecipients": [
                {
                    "emailAddress": "ann@example.com",
                    "status": "4.2.2",
                    "diagnosticCode": "smtp; 452 4.2.2 <ann@example.com> over quota",
                }
            ],
            "expirationTime": "2026-01-31T03:31:02.003Z",
            "reportingMTA": "a48-100.smtp-out.example.com",
            "timestamp": AT,
        }
    },
    "Bounce": {
        "bounce": {
            "bounceType": "Permanent",
            "bounceSubType": "General",
            "bouncedRecipients": [
                {
                    "emailAddress": "ann@example.com",
                    "action": "failed",
                    "status": "5.1.1",
                    "diagnosticCode": "smtp; 550 5.1.1 <ann@example.com>... User unknown",
                }
            ],
            "timestamp": AT,
            "feedbackId": FEEDBACK_ID,
            "reportingMTA": "dsn; mta.example.com",
        }
    },
    "Complaint": {
        "complaint": {
            "complainedRecipients": [{"emailAddress": "ann@example.com"}],
            "timestamp": AT,
            "feedbackId": FEEDBACK_ID,
            "complaintSubType": None,
            "userAgent": "Amazon SES Mailbox Simulator",
            "complaintFeedbackType": "abuse",
            "arrivalDate": AT,
        }
    },
    "Reject": {"reject": {"reason": "Bad content"}},
    "Rendering Failure": {
        "failure": {"errorMessage": "Attribute 'x' is not present", "templateName": "decided"}
    },
    "Open": {"open": {"ipAddress": "192.0.2.1", "timestamp": AT, "userAgent": "Mozilla/5.0"}},
    "Click": {
        "click": {
            "ipAddress": "192.0.2.1",
            "link": "https://example.com/",
            "linkTags": None,
            "timestamp": AT,
            "userAgent": "Mozilla/5.0",
        }
    },
    "Subscription": {
        "subscription": {
            "contactList": "nobody",
            "timestamp": AT,
            "source": "UnsubscribeHeader",
            "newTopicPreferences": {"unsubscribeAll": True, "topicSubscriptionStatus": []},
        }
    },
}


def published(
    kind: str, *, tag: str | None = None, message_id: str = MESSAGE_ID, **details: Any
) -> dict[str, Any]:
    """Give an event of a kind as event publishing has it, some of its details changed."""
    mail = {**_MAIL, "messageId": message_id}
    mail["tags"] = {**_MAIL["tags"], **({} if tag is None else {"notification_id": [tag]})}
    ((where, known),) = DETAILS[kind].items()
    return {"eventType": kind, "mail": mail, where: {**known, **details}}


def notified(kind: str, *, message_id: str = MESSAGE_ID, **details: Any) -> dict[str, Any]:
    """Give a notification of an identity: older, without tags, with times that are nearly ISO."""
    ((where, known),) = DETAILS[kind].items()
    mail = {name: value for name, value in _MAIL.items() if name not in {"tags", "headers"}}
    changed = {"timestamp": "2026-01-31T01:31:02 +0000", **details}
    return {
        "notificationType": kind,
        "mail": {**mail, "messageId": message_id, "sourceIp": "192.0.2.1", "callerIdentity": "p"},
        where: {**known, **changed},
    }


def enveloped(message: object, *, topic: str = TOPIC, **fields: Any) -> str:
    """Put a message into the envelope of SNS."""
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "dc1e94d9-56c5-5e96-808d-cc7f68faa162",
            "TopicArn": topic,
            "Subject": "Amazon SES Email Event Notification",
            "Message": message if isinstance(message, str) else json.dumps(message),
            "Timestamp": AT,
            "SignatureVersion": "1",
            "Signature": "bm8gc2lnbmF0dXJl",
            "SigningCertURL": "https://sns.ap-southeast-1.amazonaws.com/x.pem",
            "UnsubscribeURL": "https://sns.ap-southeast-1.amazonaws.com/?Action=Unsubscribe",
        }
        | fields
    )


def record(body: object, *, id: str = "m-1", receives: int = 1, **more: Any) -> dict[str, Any]:
    """Give a record of SQS, as Lambda gets it."""
    return {
        "messageId": id,
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": {
            "ApproximateReceiveCount": str(receives),
            "SentTimestamp": "1769823062003",
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": "1769823062004",
        },
        "messageAttributes": {},
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:ap-southeast-1:123456789012:siutindei",
        "awsRegion": "ap-southeast-1",
    } | more


def batch(*records: dict[str, Any]) -> dict[str, Any]:
    """Give a batch, as Lambda gets it."""
    return {"Records": list(records)}


def failed(*ids: str) -> dict[str, Any]:
    """Give the answer that names some messages as failed."""
    return {"batchItemFailures": [{"itemIdentifier": id} for id in ids]}
