"""Which provider a request is for, told by its path: one port serves them all."""

from fanfare.dev.simulator.exchange import Replies, Reply, Request


class Front:
    """Hands each request to its provider. What is nobody's is APNs' BadPath."""

    def __init__(self, *, apns: Replies, fcm: Replies, oauth: Replies) -> None:
        self._apns = apns
        self._fcm = fcm
        self._oauth = oauth

    def reply(self, request: Request) -> Reply:
        path = request.path
        if path.startswith(b"/v1/"):
            return self._fcm.reply(request)
        if path == b"/token":
            return self._oauth.reply(request)
        return self._apns.reply(request)
