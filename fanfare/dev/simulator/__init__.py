"""APNs, FCM and Google's token endpoint in one process, faithful enough to test a sender against.

    python -m fanfare.dev.simulator --port 8443 --control-port 8444 --directory .simulator

One TLS port serves both providers, told apart by path, over HTTP/2 (and HTTP/1.1, for token
calls); `--sandbox-port` adds APNs' sandbox. The directory gets the account that a sender needs and
keeps it: `ca.pem`, `AuthKey.p8`, `service-account.json`, `account.json`. The control port (plain
HTTP) has a page with the last notifications, the ledger of what was accepted, and the script.

What becomes of a valid message, first by the script, then by how its device token begins:

| token begins | APNs | FCM |
|---|---|---|
| `dead` | 410 Unregistered, timestamp now | 404 UNREGISTERED |
| `bad0` | 400 BadDeviceToken | 400 INVALID_ARGUMENT at message.token |
| `429a` | 429 TooManyRequests, once | 429 QUOTA_EXCEEDED with Retry-After: 2, once |
| `503a` | 503 ServiceUnavailable, once | 503 UNAVAILABLE with Retry-After: 2, once |
| `5a` | 400 BadDeviceToken in production; the only ones that the sandbox takes | 200 |
| anything else | 200 | 200 |

Once means the first time that this notification comes to the token; it is accepted from then on. A
notification is told by its collapse id: `apns-collapse-id`, or `android.notification.tag`.

A topic of the account's vendor that is not the app's is answered DeviceTokenNotForTopic, anybody
else's TopicDisallowed. FCM's quotas are two: QUOTA_EXCEEDED is a device's, and a script's
RATE_LIMIT_EXCEEDED the project's, which Google words without an FcmError. A connection gets one
stream until it has shown a valid token, then 1000 (APNs) or 100 (FCM). Rules see only what is
well-formed and authenticated; what is not is refused as the provider would refuse it.

In tests: `async with Simulator.start(directory=tmp_path) as simulator`.
"""

from fanfare.dev.simulator.account import Account
from fanfare.dev.simulator.exchange import Endpoint
from fanfare.dev.simulator.ledger import Acceptance, Ledger
from fanfare.dev.simulator.script import Rule, Script
from fanfare.dev.simulator.simulator import Simulator

__all__ = ["Acceptance", "Account", "Endpoint", "Ledger", "Rule", "Script", "Simulator"]
