"""Why a user got a campaign's message, or did not. No I/O: `fanfare.db.explanations` asks."""
