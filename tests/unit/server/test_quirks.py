"""What the switches of ``Quirks`` do, one by one, and what ocidist's own client makes of the presets."""

from __future__ import annotations

import inspect
import json
import re
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest

from ocidist import Client, HostConfig, OciError, RetryPolicy
from ocidist.errors import UsageError
from ocidist.model.digest import Digest
from ocidist.server import (
    PRESETS,
    ChallengeStyle,
    Chunks,
    Deletion,
    DigestHeader,
    ErrorBody,
    LinkStyle,
    LocationStyle,
    ManifestType,
    Mounts,
    PasswordGuard,
    Quirks,
    ReferrersApi,
    RegistryApp,
    TokenGuard,
    UploadRange,
)
from ocidist.storage.memory import MemoryRegistry
from tests.peers import images
from tests.unit.issuer.support import verifier
from tests.unit.server.support import call
from tests.unit.server.test_auth import REALM, USERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.unit.server.support import Answer

DATA = b"0123456789"
DIGEST = Digest.of(DATA)
IMAGE = images.image()
HOST = ("Host", "registry.test")
BODILESS = {204, 304}


async def with_content(quirks: Quirks, **options: Any) -> RegistryApp:  # noqa: ANN401 -- as the application has them
    """Return an application over a store with a blob and an image with two tags."""
    store = MemoryRegistry(check_references=False)
    await store.repository("a").blobs.push(DATA)
    for media in (IMAGE.manifest.data, images.image(fields={"mediaType": None}).manifest.data):
        await store.repository("a").manifests.push(media, tags=["v1" if media is IMAGE.manifest.data else "bare"])
    return RegistryApp(store, quirks=quirks, **options)


async def started(app: RegistryApp) -> str:
    """Open an upload session and return its location below the host."""
    answer = await call(app, "POST", "/v2/a/blobs/uploads/", headers=[HOST])
    assert answer.status == 202
    return re.sub(r"^https?://[^/]+", "", answer.headers["location"])


async def chunk(
    app: RegistryApp, location: str, data: bytes, start: int | None = None, method: str = "PATCH"
) -> Answer:
    """Send a chunk."""
    headers = [HOST, ("Content-Length", str(len(data)))]
    if start is not None:
        headers.append(("Content-Range", f"{start}-{start + len(data) - 1}"))
    return await call(app, method, location, headers=headers, body=[data])


# --- uploads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        (LocationStyle.RELATIVE, "/v2/a/"),
        (LocationStyle.ABSOLUTE, "http://registry.test/v2/a/"),
        (LocationStyle.ABSOLUTE_HTTP, "http://registry.test/v2/a/"),
    ],
)
async def test_n12_a_location_may_be_absolute(style: LocationStyle, expected: str) -> None:
    app = await with_content(Quirks(location=style))
    answer = await call(app, "POST", "/v2/a/blobs/uploads/", headers=[HOST])
    assert answer.headers["location"].startswith(expected)


async def test_n12_what_was_made_may_have_no_location() -> None:
    app = await with_content(Quirks(created_location=False))
    answer = await call(app, "POST", f"/v2/a/blobs/uploads/?digest={DIGEST}", body=[DATA])
    assert (answer.status, "location" in answer.headers) == (201, False)
    assert await started(app)


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        (UploadRange.EXACT, "0-9"),
        (UploadRange.MISSING, None),
        (UploadRange.STALE, "0-0"),
        (UploadRange.OFF_BY_ONE, "0-10"),
        (UploadRange.PREFIXED, "bytes=0-9"),
    ],
)
async def test_n12_q30_range_may_say_anything(style: UploadRange, expected: str | None) -> None:
    app = await with_content(Quirks(upload_range=style))
    location = await started(app)
    assert (await chunk(app, location, DATA)).headers.get("range") == expected
    assert (await call(app, "GET", location)).headers.get("range") == expected


async def test_n12_a_conflict_may_not_say_how_far_the_session_is() -> None:
    app = await with_content(Quirks(conflict_range=False))
    answer = await chunk(app, await started(app), DATA, 5)
    assert (answer.status, "range" in answer.headers) == (416, False)


@pytest.mark.parametrize(("patch", "put"), [(201, 202), (204, 204)])
async def test_n12_chunks_and_closed_uploads_may_have_other_statuses(patch: int, put: int) -> None:
    app = await with_content(Quirks(patch_status=patch, put_status=put))
    location = await started(app)
    assert (await chunk(app, location, DATA)).status == patch
    assert (await chunk(app, f"{location}?digest={DIGEST}", b"", method="PUT")).status == put


async def test_n12_an_older_location_may_be_gone() -> None:
    app = await with_content(Quirks(upload_state=True))
    first = await started(app)
    assert "_state=" in first
    moved = await chunk(app, first, b"01234")
    second = moved.headers["location"]
    assert second != first
    for method in ("PATCH", "GET"):
        stale = await chunk(app, first, b"", method=method)
        assert (stale.status, stale.code) == (404, "BLOB_UPLOAD_INVALID")
    assert (await call(app, "GET", second)).status == 204
    closed = await chunk(app, f"{second}&digest={DIGEST}", b"56789", method="PUT")
    assert closed.status == 201


async def test_n12_chunks_out_of_order_may_be_appended() -> None:
    app = await with_content(Quirks(appends=True))
    answer = await chunk(app, await started(app), DATA, 2000)
    assert (answer.status, answer.headers["range"]) == (202, "0-9")


async def test_n12_chunks_may_not_be_taken() -> None:
    app = await with_content(Quirks(chunks=Chunks.NONE))
    location = await started(app)
    assert (await chunk(app, location, DATA)).status == 405
    assert (await chunk(app, f"{location}?digest={DIGEST}", DATA, method="PUT")).status == 201
    app = await with_content(Quirks(chunks=Chunks.ONE))
    location = await started(app)
    assert [(await chunk(app, location, DATA)).status for _ in range(2)] == [202, 416]
    assert (await chunk(app, f"{location}?digest={DIGEST}", b"", method="PUT")).status == 201


async def test_n12_chunks_may_have_to_be_large() -> None:
    app = await with_content(Quirks(min_chunk=5))
    location = await started(app)
    assert [(await chunk(app, location, part)).status for part in (b"01234", b"567", b"89")] == [202, 202, 416]
    assert (await chunk(app, f"{location}?digest={Digest.of(DATA[:8])}", b"", method="PUT")).status == 201


async def test_n12_chunks_may_have_to_be_small() -> None:
    app = await with_content(Quirks(max_chunk=5))
    location = await started(app)
    refused = await chunk(app, location, DATA, 0)
    assert (refused.status, refused.headers["range"]) == (416, "0-0")
    assert (await chunk(app, location, DATA[:5], 0)).status == 202
    assert (await chunk(app, f"{location}?digest={DIGEST}", DATA[5:], 5, "PUT")).status == 201
    whole = await started(app)
    assert (await chunk(app, f"{whole}?digest={DIGEST}", DATA, method="PUT")).status == 201


async def test_n12_bodies_may_have_to_be_small() -> None:
    app = await with_content(Quirks(max_body=9))
    headers = [("Content-Length", "10")]
    assert (
        await call(app, "POST", f"/v2/a/blobs/uploads/?digest={DIGEST}", headers=headers, body=[DATA])
    ).status == 413


async def test_n12_uploads_may_lack_what_the_specification_offers() -> None:
    app = await with_content(Quirks(single_post=False, upload_status=False, cancel=False))
    posted = await call(app, "POST", f"/v2/b/blobs/uploads/?digest={DIGEST}", body=[DATA])
    assert (posted.status, "location" in posted.headers) == (202, True)
    assert (await call(app, "HEAD", f"/v2/b/blobs/{DIGEST}")).status == 404
    location = posted.headers["location"]
    assert (await call(app, "GET", location)).status == 400
    assert (await call(app, "DELETE", location)).status == 405


@pytest.mark.parametrize(
    ("mounts", "named", "anonymous", "missing"),
    [
        (Mounts.WORK, 201, 201, 202),
        (Mounts.DECLINED, 202, 202, 202),
        (Mounts.NAMED_ONLY, 201, 404, 202),
        (Mounts.REFUSED, 201, 201, 404),
    ],
)
async def test_n12_q42_mounts_may_fail(mounts: Mounts, named: int, anonymous: int, missing: int) -> None:
    app = await with_content(Quirks(mounts=mounts))
    found = [
        (await call(app, "POST", f"/v2/{name}/blobs/uploads/?mount={digest}{source}")).status
        for name, digest, source in (
            ("b", DIGEST, "&from=a"),
            ("c", DIGEST, ""),
            ("b", Digest.of(b"missing"), "&from=a"),
        )
    ]
    assert found == [named, anonymous, missing]


# --- content ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deletion", "refused"),
    [(Deletion.UNSUPPORTED, (405, "UNSUPPORTED")), (Deletion.DIGEST_INVALID, (400, "DIGEST_INVALID"))],
)
async def test_n12_q56_deleting_may_be_refused(deletion: Deletion, refused: tuple[int, str]) -> None:
    targets = {
        "delete_blob": f"/v2/a/blobs/{DIGEST}",
        "delete_tag": "/v2/a/manifests/v1",
        "delete_manifest": f"/v2/a/manifests/{IMAGE.digest}",
    }
    for name in targets:
        switch: dict[str, Any] = {name: deletion}
        app = await with_content(Quirks(**switch))
        answers = {each: await call(app, "DELETE", target) for each, target in targets.items()}
        assert (answers[name].status, answers[name].code) == refused
        assert {answer.status for each, answer in answers.items() if each != name} <= {202}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_n12_q39_blobs_may_be_elsewhere(method: str) -> None:
    app = await with_content(Quirks(redirect_blobs="https://cdn.test/", redirect_status=302))
    answer = await call(app, method, f"/v2/a/blobs/{DIGEST}")
    assert (answer.status, answer.headers["location"]) == (302, f"https://cdn.test/v2/a/blobs/{DIGEST}")
    assert (await call(app, method, f"/v2/a/blobs/{Digest.of(b'missing')}")).status == 404


async def test_n12_ranges_may_be_ignored_and_lengths_left_out() -> None:
    app = await with_content(Quirks(ranges=False, head_length=False))
    answer = await call(app, "GET", f"/v2/a/blobs/{DIGEST}", headers=[("Range", "bytes=5-")])
    assert (answer.status, answer.body) == (200, DATA)
    assert "content-length" not in (await call(app, "HEAD", f"/v2/a/blobs/{DIGEST}")).headers


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        (DigestHeader.MISSING, None),
        (DigestHeader.UPPER_CASE, f"sha256:{IMAGE.digest.removeprefix('sha256:').upper()}"),
        (DigestHeader.WRONG, "sha256:" + "0" * 64),
    ],
)
async def test_n12_q58_the_digest_may_be_missing_or_wrong(style: DigestHeader, expected: str | None) -> None:
    app = await with_content(Quirks(digest_header=style))
    for method in ("GET", "HEAD"):
        answer = await call(app, method, "/v2/a/manifests/v1")
        assert answer.headers.get("docker-content-digest") == expected


async def test_n12_sha512_may_be_answered_as_sha256() -> None:
    app = await with_content(Quirks(digest_header=DigestHeader.SHA256))
    other = Digest.of(DATA, "sha512")
    answer = await call(app, "POST", f"/v2/b/blobs/uploads/?digest={other}", body=[DATA])
    assert answer.headers["docker-content-digest"] == DIGEST
    assert answer.headers["location"].endswith(DIGEST)
    for digest in (DIGEST, other):
        assert (await call(app, "GET", f"/v2/b/blobs/{digest}")).body == DATA


async def test_n12_q61_manifests_may_have_to_be_accepted() -> None:
    app = await with_content(Quirks(manifest_type=ManifestType.ACCEPTED_ONLY))
    for accept in ("", "*/*", "application/vnd.oci.image.index.v1+json"):
        for method in ("GET", "HEAD"):
            assert (await call(app, method, "/v2/a/manifests/v1", headers=[("Accept", accept)])).status == 404
    accept = f"text/plain, {IMAGE.manifest.media_type};q=0.9"
    assert (await call(app, "GET", "/v2/a/manifests/v1", headers=[("Accept", accept)])).status == 200


@pytest.mark.parametrize(
    ("style", "labelled", "bare"),
    [
        (ManifestType.RELABELLED, IMAGE.manifest.media_type, "text/plain; charset=utf-8"),
        (ManifestType.JSON, "application/json", "application/json"),
        (ManifestType.MISSING, None, None),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_n12_q59_the_type_of_a_manifest_may_be_lost(
    style: ManifestType, labelled: str | None, bare: str | None, method: str
) -> None:
    app = await with_content(Quirks(manifest_type=style))
    for tag, expected in (("v1", labelled), ("bare", bare)):
        assert (await call(app, method, f"/v2/a/manifests/{tag}")).headers.get("content-type") == expected


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_n12_q61_an_image_may_be_turned_into_schema_1(method: str) -> None:
    app = await with_content(Quirks(schema1=True))
    docker = images.image(docker=True)
    await call(app, "PUT", "/v2/a/manifests/docker", body=[docker.manifest.data])
    answer = await call(app, method, "/v2/a/manifests/docker", headers=[("Accept", "*/*")])
    assert answer.headers["content-type"] == "application/vnd.docker.distribution.manifest.v1+json"
    if method == "GET":
        assert answer.headers["docker-content-digest"] == Digest.of(answer.body)
        made = json.loads(answer.body)
        assert [layer["blobSum"] for layer in made["fsLayers"]] == [
            layer["digest"] for layer in reversed(json.loads(docker.manifest.data)["layers"])
        ]
    listed = await call(app, method, "/v2/a/manifests/docker", headers=[("Accept", docker.manifest.media_type)])
    assert listed.headers["docker-content-digest"] == docker.digest
    assert (await call(app, method, "/v2/a/manifests/v1")).headers["docker-content-digest"] == IMAGE.digest


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "status", "kind"),
    [
        (ReferrersApi.WORKS, 200, "application/vnd.oci.image.index.v1+json"),
        (ReferrersApi.MISSING, 404, "text/plain; charset=utf-8"),
        (ReferrersApi.UNACCEPTABLE, 406, "text/plain; charset=utf-8"),
        (ReferrersApi.FORBIDDEN, 401, "text/plain; charset=utf-8"),
        (ReferrersApi.WEB_PAGE, 200, "text/html; charset=utf-8"),
    ],
)
async def test_n12_q45_there_may_be_no_referrers(api: ReferrersApi, status: int, kind: str) -> None:
    app = await with_content(Quirks(referrers=api))
    answer = await call(app, "GET", f"/v2/a/referrers/{IMAGE.digest}")
    assert (answer.status, answer.headers["content-type"]) == (status, kind)
    made = images.image(fields={"subject": IMAGE.manifest.descriptor})
    pushed = await call(app, "PUT", f"/v2/a/manifests/{made.digest}", body=[made.manifest.data])
    assert pushed.status == 201
    assert ("oci-subject" in pushed.headers) == (api is ReferrersApi.WORKS)


async def test_n12_referrers_may_not_be_filtered() -> None:
    app = await with_content(Quirks(referrers=ReferrersApi.UNFILTERED))
    made = images.image(fields={"subject": IMAGE.manifest.descriptor})
    pushed = await call(app, "PUT", f"/v2/a/manifests/{made.digest}", body=[made.manifest.data])
    assert "oci-subject" in pushed.headers
    answer = await call(app, "GET", f"/v2/a/referrers/{IMAGE.digest}?artifactType=text/none")
    assert "oci-filters-applied" not in answer.headers
    assert len(json.loads(answer.body)["manifests"]) == 1


async def test_n12_q53_lists_may_come_unsorted_and_whole() -> None:
    app = await with_content(Quirks(paginated=False))
    for tag in ("b2", "a3"):
        await call(app, "PUT", f"/v2/a/manifests/{tag}", body=[IMAGE.manifest.data])
    answer = await call(app, "GET", "/v2/a/tags/list?n=1&last=b2")
    found = json.loads(answer.body)["tags"]
    assert sorted(found) == ["a3", "b2", "bare", "v1"] != found
    assert "link" not in answer.headers


async def test_n12_lists_may_be_refused_or_null() -> None:
    app = await with_content(Quirks(max_n=10, catalog=False, null_lists=True))
    assert (await call(app, "GET", "/v2/a/tags/list?n=11")).code == "PAGINATION_NUMBER_INVALID"
    assert (await call(app, "GET", "/v2/_catalog")).status == 404
    assert json.loads((await call(app, "GET", "/v2/a/tags/list?n=0")).body)["tags"] is None


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        (LinkStyle.STANDARD, '<{}>; rel="next"'),
        (LinkStyle.UNQUOTED, "<{}>; rel=next"),
        (LinkStyle.DENSE, '<{}>;rel="next"'),
        (LinkStyle.WITHOUT_REL, "<{}>"),
        (LinkStyle.BARE, '{}; rel="next"'),
        (LinkStyle.ABSOLUTE, '<http://registry.test{}>; rel="next"'),
        (LinkStyle.ABSOLUTE_HTTP, '<http://registry.test{}>; rel="next"'),
        (LinkStyle.MISSING, None),
    ],
)
async def test_n12_q52_the_next_page_may_be_named_in_many_ways(style: LinkStyle, expected: str | None) -> None:
    app = await with_content(Quirks(link=style))
    answer = await call(app, "GET", "/v2/a/tags/list?n=1", headers=[HOST])
    target = "/v2/a/tags/list?last=bare&n=1"
    assert answer.headers.get("link") == (None if expected is None else expected.format(target))


# --- who asks, and failures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("style", "ping", "other"),
    [
        (ChallengeStyle.STANDARD, (401, True), (401, True)),
        (ChallengeStyle.MISSING, (401, False), (401, False)),
        (ChallengeStyle.ON_PING_ONLY, (401, True), (401, False)),
        (ChallengeStyle.HIDDEN, (401, True), (404, False)),
    ],
)
async def test_n12_a_challenge_may_be_missing(
    style: ChallengeStyle, ping: tuple[int, bool], other: tuple[int, bool]
) -> None:
    app = await with_content(Quirks(challenge=style), auth=PasswordGuard(USERS))
    for target, expected in (("/v2/", ping), ("/v2/a/tags/list", other)):
        answer = await call(app, "GET", target)
        assert (answer.status, "www-authenticate" in answer.headers) == expected


async def test_n12_a_challenge_may_be_unusual() -> None:
    guard = TokenGuard(verifier(), realm=REALM)
    app = await with_content(Quirks(challenge=ChallengeStyle.SHUFFLED), auth=guard)
    mount = f"/v2/a/blobs/uploads/?mount={DIGEST}&from=c"
    found = {(await call(app, "POST", mount)).headers["www-authenticate"] for _ in range(4)}
    assert {each.partition("scope=")[2] for each in found} == {
        '"repository:a:pull,push repository:c:pull"',
        '"repository:c:pull repository:a:push,pull"',
    }
    app = await with_content(Quirks(challenge=ChallengeStyle.SCOPED_BASIC), auth=PasswordGuard(USERS))
    found_basic = (await call(app, "GET", "/v2/a/tags/list")).headers["www-authenticate"]
    assert found_basic == 'Basic realm="registry",scope="repository:a:pull"'
    app = await with_content(Quirks(challenge=ChallengeStyle.PLACEHOLDER), auth=guard)
    assert "repository:user/image:pull" in (await call(app, "GET", "/v2/")).headers["www-authenticate"]
    assert "user/image" not in (await call(app, "GET", "/v2/a/tags/list")).headers["www-authenticate"]


@pytest.mark.parametrize(
    ("style", "kind", "body"),
    [
        (ErrorBody.EMPTY, None, b""),
        (ErrorBody.HTML, "text/html", b"<html><h1>404 error</h1></html>\n"),
        (ErrorBody.TEXT, "text/plain; charset=utf-8", b"404 error\n"),
        (ErrorBody.SINGLE, "application/json", None),
        (ErrorBody.NULL, "application/json", b'{"errors":null}'),
        (ErrorBody.LOWER_CASE, "application/json", None),
    ],
)
async def test_n12_q63_errors_may_look_like_anything(style: ErrorBody, kind: str | None, body: bytes | None) -> None:
    app = await with_content(Quirks(errors=style))
    answer = await call(app, "GET", "/v2/a/manifests/missing")
    assert (answer.status, answer.headers.get("content-type")) == (404, kind)
    assert answer.headers["content-length"] == str(len(answer.body))
    if body is not None:
        assert answer.body == body
    elif style is ErrorBody.SINGLE:
        assert set(json.loads(answer.body)) == {"message"}
    else:
        assert answer.code == "manifest_unknown"


async def test_n12_every_answer_may_come_with_something() -> None:
    app = await with_content(Quirks(warning="soon gone", cookie="sid=1", ping_status=404))
    answer = await call(app, "GET", "/v2/")
    assert (answer.status, answer.headers["warning"], answer.headers["set-cookie"]) == (
        404,
        '299 - "soon gone"',
        "sid=1",
    )


@pytest.mark.parametrize("wait", [None, 7.0])
async def test_n12_reads_may_run_out(wait: float | None) -> None:
    app = await with_content(Quirks(quota=2, retry_after=wait))
    statuses = [(await call(app, method, "/v2/a/manifests/v1")).status for method in ("GET", "HEAD", "GET", "HEAD")]
    assert statuses == [200] * 4
    refused = await call(app, "GET", "/v2/a/manifests/v1")
    assert (refused.status, refused.code) == (429, "TOOMANYREQUESTS")
    assert refused.headers.get("retry-after") == (None if wait is None else "7")
    assert refused.headers["ratelimit-remaining"] == "0;w=21600"


@pytest.mark.parametrize(
    "wrong",
    [{"patch_status": 200}, {"put_status": 404}, {"redirect_status": 301}, {"max_chunk": 0}, {"ping_status": 1}],
)
def test_n12_switches_have_to_make_sense(wrong: Mapping[str, Any]) -> None:
    with pytest.raises(UsageError):
        Quirks(**wrong)


@pytest.mark.parametrize("preset", PRESETS)
async def test_n12_ocidist_pushes_and_pulls_at_every_preset(preset: str) -> None:
    quirks = attrs.evolve(PRESETS[preset], min_chunk=PRESETS[preset].min_chunk and 50_000)
    app = RegistryApp(MemoryRegistry(), quirks=quirks)
    data = images.noise(300_000)
    image = images.image()
    async with Client(
        transport=httpx.ASGITransport(app),
        hosts={"registry.test": HostConfig(scheme="http")},
        retry=RetryPolicy(attempts=2),
    ) as client:
        repository = client.repository("registry.test/a/b")
        for blob in image.all_blobs:
            await repository.blobs.push(blob.data)
        pushed = await repository.manifests.push(image.manifest.data, tags=["v1", "v2"])
        assert pushed.descriptor.digest == image.digest
        assert (await repository.manifests.get("v1")).data == image.manifest.data
        assert sorted(await repository.tags.list().collect()) == ["v1", "v2"]
        # Whoever takes one chunk gets the blob in one.
        size = 100_000 if quirks.chunks is Chunks.ANY else len(data)
        async with repository.blobs.writer(chunk_size=size) as writer:
            await writer.write(data)
            described = await writer.commit()
        assert await repository.blobs.get(described.digest) == data
        with pytest.raises(OciError):
            await repository.blobs.get(Digest.of(b"missing"))


def test_n12_every_switch_is_documented() -> None:
    # From Python 3.13 on a docstring has no indentation.
    text = inspect.getdoc(Quirks) or ""
    assert [each.name for each in attrs.fields(Quirks) if f"\n    {each.name}: " not in text] == []
