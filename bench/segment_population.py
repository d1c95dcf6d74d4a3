"""The people that the segments' benchmark asks about: a million users, 1,200,000 devices."""

from uuid import UUID

import psycopg

USERS = 1_000_000
TOKENS = 1_200_000
PROJECT = UUID("0198c0de-0000-7000-8000-000000000001")

# A stranger's users beside them, so that no plan can do without the project.
STRANGER = UUID("0198c0de-0000-7000-8000-000000000002")
STRANGERS = 50_000

# Nothing is random, so that every run asks the same. Multiplying by a large prime spreads the
# numbers over all users, as they are spread in life.
_USERS = """
    INSERT INTO app_users (project_id, id, external_id, email, display_name, timezone, locale,
        properties, first_seen_at, last_seen_at, created_at)
    SELECT %(project)s, uuidv7(), 'user-' || n, 'user-' || n || '@example.com', 'User ' || n,
        (ARRAY['Europe/Berlin', 'America/New_York', 'Asia/Tokyo', 'Australia/Sydney'])[1 + h %% 4],
        (ARRAY['de-DE', 'en-US', 'ja-JP', 'en-AU'])[1 + h %% 4],
        jsonb_build_object(
            'plan', (ARRAY['free', 'free', 'pro', 'team'])[1 + h %% 4],
            'cohort', 'cohort-' || h %% 100,
            'level', h %% 100,
            'balance', (h %% 100000)::text || '.5',
            'onboarded', h %% 10 < 9,
            'tags', jsonb_build_array('tag-' || h %% 50, 'tag-' || h %% 7, 'sports'),
            'trial_ends_at', to_char(now() + make_interval(days => (h %% 60) - 30),
                'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
            'address', jsonb_build_object('city', 'City ' || h %% 1000, 'country', 'DE',
                'lines', jsonb_build_array('Street ' || n, 'Floor ' || h %% 9)),
            'device', jsonb_build_object('theme', 'dark', 'text_size', h %% 5),
            'referrer', 'https://example.com/campaigns/' || h %% 300
        ),
        now() - make_interval(mins => (h %% 1000) * 1008),
        CASE WHEN h %% 50 > 0 THEN now() - make_interval(mins => (h / 7 %% 10000) * 9) END,
        now() - make_interval(mins => (h %% 1000) * 1008)
    FROM (
        SELECT n, ((n::bigint * 2654435761 %% 4294967296) / 16)::int AS h
        FROM generate_series(1, %(count)s) AS n
    ) AS numbers
"""
# One in five has bought something, one in twenty of all lets it run out.
_ENTITLEMENTS = """
    INSERT INTO user_entitlements (project_id, app_user_id, entitlement_id, product_id, is_active,
        store, period_type, purchase_date, expiration_date)
    SELECT project_id, id, 'premium', 'premium_yearly', n %% 20 > 0,
        'app_store', 'normal', now() - interval '100 days', now() + make_interval(days => n %% 365)
    FROM (SELECT *, substr(external_id, 6)::int AS n FROM app_users) AS people
    WHERE project_id = %(project)s AND n %% 5 = 0
"""
_TOKENS = """
    INSERT INTO push_tokens (project_id, app_user_id, token, platform, provider, environment,
        app_version, device_model)
    SELECT project_id, id,
        CASE n %% 2 WHEN 0 THEN 'a' || lpad(to_hex(n), 61, '0') || lpad(device::text, 2, '0')
            ELSE 'device-' || n || '-' || device || ':' || repeat('x', 120) END,
        CASE n %% 2 WHEN 0 THEN 'ios' ELSE 'android' END,
        CASE n %% 2 WHEN 0 THEN 'apns' ELSE 'fcm' END, 'production',
        '4.' || n %% 100 || '.0', 'a model'
    FROM (SELECT *, substr(external_id, 6)::int AS n FROM app_users) AS people,
        generate_series(1, CASE n %% 5 WHEN 0 THEN 2 ELSE 1 END) AS device
    WHERE project_id = %(project)s
"""


def fill(url: str) -> None:
    """Write everybody, and let PostgreSQL look at what it has."""
    with psycopg.connect(url, autocommit=True) as conn:
        # Built afterwards, it takes a tenth of the time.
        gin = conn.execute("SELECT pg_get_indexdef('ix_app_users_properties'::regclass)").fetchone()
        conn.execute("DROP INDEX ix_app_users_properties")
        for project, count in ((PROJECT, USERS), (STRANGER, STRANGERS)):
            values = {"project": project, "count": count}
            conn.execute("INSERT INTO projects (id, name) VALUES (%s, 'bench')", [project])
            for statement in (_USERS, _ENTITLEMENTS, _TOKENS):
                conn.execute(statement, values)
        assert gin is not None
        conn.execute(gin[0])
        conn.execute("VACUUM (ANALYZE) app_users, user_entitlements, push_tokens")
