"""Users and their entitlements."""

from httpx import AsyncClient

from tests.api.conftest import Tenant


async def test_put_creates_then_changes_only_what_is_given(client: AsyncClient) -> None:
    first = {"email": "a@b.c", "timezone": "Europe/Berlin", "properties": {"a": 1, "b": {"c": 2}}}
    made = await client.put("/admin/users/u", json=first)

    changed = await client.put("/admin/users/u", json={"email": None, "locale": "de"})

    assert [made.status_code, changed.status_code] == [201, 200]
    user = changed.json()["data"]
    assert user["id"] == made.json()["data"]["id"]
    assert (user["email"], user["locale"], user["timezone"]) == (None, "de", "Europe/Berlin")


async def test_properties_merge_at_the_top_level_and_null_removes(client: AsyncClient) -> None:
    await client.put("/admin/users/u", json={"properties": {"a": 1, "b": {"c": 2}, "n": None}})

    answer = await client.put("/admin/users/u", json={"properties": {"a": None, "b": {"d": 3}}})

    assert answer.json()["data"]["properties"] == {"b": {"d": 3}}


async def test_equal_put_writes_nothing(client: AsyncClient) -> None:
    made = await client.put("/admin/users/u", json={"properties": {"a": 1}})

    again = await client.put("/admin/users/u", json={"properties": {"a": 1}})

    assert again.json() == made.json()


async def test_integers_of_64_bits_stay_exact(client: AsyncClient) -> None:
    numbers = {"most": 2**64 - 1, "least": -(2**63)}

    await client.put("/admin/users/u", json={"properties": numbers})

    assert (await client.get("/admin/users/u")).json()["data"]["properties"] == numbers


async def test_properties_have_a_limit_of_size_also_when_merged(client: AsyncClient) -> None:
    await client.put("/admin/users/u", json={"properties": {"a": "x" * 40_000}})

    merged = await client.put("/admin/users/u", json={"properties": {"b": "x" * 40_000}})
    alone = await client.put("/admin/users/v", json={"properties": {"a": "x" * 70_000}})

    assert [merged.status_code, alone.status_code] == [400, 400]
    assert "b" not in (await client.get("/admin/users/u")).json()["data"]["properties"]


async def test_properties_have_a_limit_of_depth(client: AsyncClient) -> None:
    deepest = '{"properties": {"a": ' + "[" * 9 + "]" * 9 + "}}"
    too_deep = '{"properties": {"a": ' + "[" * 10 + "]" * 10 + "}}"
    headers = {"Content-Type": "application/json"}

    taken = await client.put("/admin/users/u", content=deepest, headers=headers)
    refused = await client.put("/admin/users/u", content=too_deep, headers=headers)

    assert [taken.status_code, refused.status_code] == [201, 400]


async def test_external_id_may_hold_a_slash(client: AsyncClient) -> None:
    await client.put("/admin/users/auth0|a/b", json={})

    answer = await client.get("/admin/users/auth0|a/b")

    assert answer.json()["data"]["external_id"] == "auth0|a/b"


async def test_external_id_has_a_limit(client: AsyncClient) -> None:
    assert (await client.put(f"/admin/users/{'x' * 256}", json={})).status_code == 400


async def test_delete_removes_user_and_tokens(client: AsyncClient) -> None:
    await client.post("/admin/users/u/push-tokens", json={"token": "abcd", "platform": "ios"})

    gone = await client.delete("/admin/users/u")
    again = await client.delete("/admin/users/u")

    assert [gone.status_code, again.status_code] == [204, 404]


async def test_pages_hold_every_user_once(client: AsyncClient) -> None:
    names = [f"u{number}" for number in range(5)]
    _ = [await client.put(f"/admin/users/{name}", json={}) for name in names]

    first = (await client.get("/admin/users", params={"limit": 3})).json()
    rest = {"limit": 3, "cursor": first["next_cursor"]}
    second = (await client.get("/admin/users", params=rest)).json()

    found = [user["external_id"] for user in first["data"] + second["data"]]
    assert found == names[::-1]
    assert second["next_cursor"] is None


async def test_text_is_looked_for_literally(client: AsyncClient) -> None:
    await client.put("/admin/users/50%25", json={})
    await client.put("/admin/users/500", json={"display_name": "Ada Lovelace"})

    percent = await client.get("/admin/users", params={"q": "0%"})
    name = await client.get("/admin/users", params={"q": "LOVE"})

    assert [user["external_id"] for user in percent.json()["data"]] == ["50%"]
    assert [user["external_id"] for user in name.json()["data"]] == ["500"]


async def test_users_of_a_segment_are_those_that_match_now(client: AsyncClient) -> None:
    rules = {"field": "properties.plan", "op": "eq", "value": "pro"}
    body = {"id": "seg_pro", "name": "Pro", "rules": rules}
    await client.post("/admin/segments", json=body)
    await client.put("/admin/users/a", json={"properties": {"plan": "pro"}})
    await client.put("/admin/users/b", json={"properties": {"plan": "free"}})

    answer = await client.get("/admin/users", params={"segment_id": "seg_pro"})

    assert [user["external_id"] for user in answer.json()["data"]] == ["a"]


async def test_entitlements_are_replaced_as_a_whole(client: AsyncClient) -> None:
    await client.put("/admin/users/u", json={})
    path = "/admin/users/u/entitlements"
    await client.put(path, json={"entitlements": [{"entitlement_id": "a"}]})
    wanted = {"entitlement_id": "b", "purchase_date": "2026-01-01T00:00:00+02:00"}

    answer = await client.put(path, json={"entitlements": [wanted]})

    assert [each["entitlement_id"] for each in answer.json()["data"]] == ["b"]
    assert answer.json()["data"][0]["purchase_date"] == "2025-12-31T22:00:00Z"


async def test_entitlement_that_comes_twice_is_refused(client: AsyncClient) -> None:
    await client.put("/admin/users/u", json={})
    twice = {"entitlements": [{"entitlement_id": "a"}, {"entitlement_id": "a"}]}

    answer = await client.put("/admin/users/u/entitlements", json=twice)

    assert answer.status_code == 400


async def test_user_of_another_project_does_not_exist(tenant: Tenant, other_tenant: Tenant) -> None:
    await other_tenant.client.put("/admin/users/u", json={"email": "theirs"})

    read = await tenant.client.get("/admin/users/u")
    listed = await tenant.client.get("/admin/users")
    deleted = await tenant.client.delete("/admin/users/u")

    assert [read.status_code, deleted.status_code] == [404, 404]
    assert listed.json()["data"] == []


async def test_both_doors_lead_to_the_same_user(tenant: Tenant) -> None:
    await tenant.client.put(f"{tenant.door}/users/u", json={})

    assert (await tenant.client.get("/admin/users/u")).status_code == 200
