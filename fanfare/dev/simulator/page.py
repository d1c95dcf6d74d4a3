"""The page that shows the last notifications as a phone's lock screen would.

Rendered here and only here: its script fetches this same page and exchanges the main part, so
that titles and bodies, which are anybody's text, are escaped in one place.
"""

from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

import orjson

from fanfare.dev.simulator.exchange import Endpoint
from fanfare.dev.simulator.ledger import Acceptance, Ledger, Totals

SHOWN = 20
APP_NAME = "Demo"
PLATFORMS = {Endpoint.APNS: "iOS", Endpoint.FCM: "Android", Endpoint.OAUTH: "Google"}
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Fanfare simulator</title>
<link rel="stylesheet" href="/page.css">
<script src="/page.js" defer></script>
<noscript><meta http-equiv="refresh" content="5"></noscript>
</head>
<body>
<header>
<h1>Fanfare simulator</h1>
<p>What Apple and Google would have accepted, on a phone that belongs to everyone.</p>
</header>
<main id="live" data-version="$version">
<dl class="counts">$counts</dl>
$screen
</main>
<footer>
<a href="/ledger/stats">Counts</a>
<a href="/ledger">Ledger</a>
<a href="/script">Script</a>
</footer>
</body>
</html>
""")

SCREEN = Template("""<section class="phone" aria-label="Lock screen">
<p class="clock"><time datetime="$iso">$clock</time><span>$day</span></p>
<ol class="notifications">$notifications</ol>
</section>""")

NOTIFICATION = Template("""<li class="notification">
<div class="icon $provider" aria-hidden="true"></div>
<div class="text">
<p class="top"><span class="app">$app</span><span class="badge $provider">$platform</span>
<time datetime="$iso">$time</time></p>
<h2>$title</h2>
<p class="body">$body</p>
<details id="n$sequence"><summary><code>$token</code></summary><dl>$facts</dl></details>
</div>
</li>""")

EMPTY = """<section class="phone empty" aria-label="Lock screen">
<p class="clock"><time>--:--</time><span>Nothing yet</span></p>
<div class="hint">
<h2>No notification has arrived</h2>
<p>Register a device and send it a first one:</p>
<pre><code>curl -X POST $API/admin/push/test \\
  -H "Authorization: Bearer $KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"title": "Hello", "body": "It works",
       "provider": "fcm",
       "device_token": "phone-1"}'</code></pre>
<p>It shows up here within two seconds.</p>
</div>
</section>"""


def render(ledger: Ledger, open_connections: int) -> str:
    """The page as HTML, with at most `SHOWN` notifications, newest first."""
    totals = ledger.totals()
    latest = ledger.latest(SHOWN)
    return PAGE.substitute(
        version=f"{totals.requests}-{len(ledger)}-{open_connections}",
        counts=_counts(totals, open_connections),
        screen=_screen(latest) if latest else EMPTY,
    )


@cache
def asset(name: str) -> str:
    """A file that the page refers to."""
    return files(__package__).joinpath("assets", name).read_text("utf-8")


def _counts(totals: Totals, open_connections: int) -> str:
    figures = {
        "accepted": totals.accepted,
        "devices": totals.tokens,
        "duplicates": totals.duplicates,
        "rejected": sum(totals.rejected.values()),
        "unanswered": sum(totals.unanswered.values()),
        "connections": open_connections,
    }
    return "".join(
        f'<div class="{name}"><dt>{name}</dt><dd>{value:,}</dd></div>'
        for name, value in figures.items()
    )


def _screen(latest: list[Acceptance]) -> str:
    newest = latest[0].accepted_at.astimezone()
    return SCREEN.substitute(
        iso=_iso(latest[0].accepted_at),
        clock=newest.strftime("%H:%M"),
        day=f"{newest:%A}, {newest.day} {newest:%B}",
        notifications="".join(_notification(acceptance) for acceptance in latest),
    )


def _notification(acceptance: Acceptance) -> str:
    envelope = acceptance.envelope
    return NOTIFICATION.substitute(
        provider=envelope.provider.value,
        platform=PLATFORMS[envelope.provider],
        app=escape(APP_NAME),
        iso=_iso(acceptance.accepted_at),
        time=acceptance.accepted_at.astimezone().strftime("%H:%M:%S"),
        title=escape(envelope.title) or "<em>no title</em>",
        body=escape(envelope.body) or "<em>no text</em>",
        sequence=acceptance.sequence,
        token=escape(shortened(acceptance.token)),
        facts=_facts(acceptance),
    )


def shortened(token: str) -> str:
    """A token's two ends: enough to know it again."""
    return token if len(token) <= 20 else f"{token[:8]}\u2026{token[-6:]}"


def _facts(acceptance: Acceptance) -> str:
    envelope = acceptance.envelope
    data = orjson.dumps(dict(envelope.data), option=orjson.OPT_INDENT_2).decode()
    facts = {
        "token": acceptance.token,
        "collapse id": envelope.collapse_id,
        "message id": acceptance.message_id,
        "environment": envelope.environment.value,
        "data": data if envelope.data else "",
    }
    return "".join(
        f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value
    )


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
