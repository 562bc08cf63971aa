"""Every Python example of the README and the documentation runs, page by page, on real registries on loopback.

Examples may await at their top level, as their pages say. Names that stand for a reader's registry, files and secrets
are replaced by those of the registry at hand; what prepares or checks an example stands in comments that readers do not
see.
"""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest
from sybil import Sybil
from sybil.parsers.myst import CodeBlockParser

from ocidist import Client, Descriptor, build_image
from ocidist.model.mediatype import OCI_CONFIG, OCI_LAYER
from tests.docs.pages import DOCS, ROOT
from tests.peers.peer import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from sybil import Example

    from tests.conftest import StartRegistry
    from tests.peers.peer import Peer

PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
HOST = "localhost:5000"
PENDING = "_pending"

# Pages whose examples are about more than a registry without authentication.
MODES = {
    "authenticate.md": (Mode.HTPASSWD, Mode.TOKEN),
    "credentials.md": (Mode.HTPASSWD,),
    "private-ca.md": (Mode.TLS,),
}


def _evaluate(example: Example) -> None:
    """Compile an example and leave what it takes to run it in the namespace."""
    replaced = example.parsed
    for words, ours in example.namespace["replacements"].items():
        replaced = replaced.replace(words, ours)
    padded = "\n" * (example.line + example.parsed.line_offset) + replaced
    code = compile(padded, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)

    def run() -> Coroutine[Any, Any, None] | None:
        found: Coroutine[Any, Any, None] | None = eval(code, example.namespace)  # noqa: S307 -- our own pages
        return found

    example.namespace[PENDING] = (run, bool(code.co_flags & inspect.CO_COROUTINE))


SYBIL = Sybil(parsers=[CodeBlockParser(language="python", evaluator=_evaluate)])
EXAMPLES = {page: list(SYBIL.parse(page).examples()) for page in PAGES}
WITH_EXAMPLES = [page for page, examples in EXAMPLES.items() if examples]


def _label(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _replacements(peers: tuple[Peer, ...], folder: Path) -> dict[str, str]:
    found = {HOST: peers[0].host, "/srv/data": str(folder)}
    for peer in peers[1:]:
        found[f"{peer.mode}.acme.io"] = peer.host
        if peer.token_server is not None:
            found["https://auth.acme.io"] = peer.token_server.origin
        if peer.ca_path is not None:
            found["/etc/acme/ca.pem"] = str(peer.ca_path)
    return found


async def _prepare(host: str) -> None:
    """Put into the registry what the pages say is there: an image, ``demo/app:1.0``, with a bill of materials."""
    async with Client() as client:
        repository = client.repository(f"{host}/demo/app")
        layer = await repository.blobs.push(b"a layer" * 1000, Descriptor.of(b"a layer" * 1000, OCI_LAYER))
        config = await repository.blobs.push(b"{}", Descriptor.of(b"{}", OCI_CONFIG))
        image = build_image(config, [layer])
        await repository.manifests.push(image, tags=["1.0", "latest"])
        await repository.attach(image, artifact_type="application/spdx+json", layers=[b"{}"])


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=_label)
async def test_the_examples_of_a_page_run(
    page: Path,
    empty_registry: StartRegistry,
    shared_registry: StartRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = empty_registry(Mode.EMBEDDED)
    peers = (registry, *(shared_registry(mode) for mode in MODES.get(page.name, ())))
    await _prepare(registry.host)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"replacements": _replacements(peers, tmp_path)}
    for example in EXAMPLES[page]:
        example.namespace = namespace
        example.evaluate()
        await _finish(*namespace[PENDING])


async def _finish(run: Callable[[], Coroutine[Any, Any, None] | None], is_async: bool) -> None:
    if is_async:
        pending = run()
        assert pending is not None
        await pending
    else:
        # A program of its own: it brings its own event loop, or needs none.
        await anyio.to_thread.run_sync(run)


def test_most_pages_have_examples() -> None:
    assert {page.parent.name for page in WITH_EXAMPLES} >= {"how-to"}
    assert ROOT / "README.md" in WITH_EXAMPLES
